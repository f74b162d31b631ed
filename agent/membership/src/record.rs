use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use tunmesh_protocol::{ControlUrl, NodeId};

use crate::key_id::KeyId;
use crate::wire::{Malformed, Reader, put_endpoint, put_host, put_ip, put_list, put_long};

/// What one member says of itself; signed by its key, so nobody else can say it.
///
/// The bytes that are signed, integers big endian:
///
/// | Bytes | Field |
/// |---|---|
/// | 1 | version of this form, 1 |
/// | 1 | flags: bit 0 `left`, others 0 |
/// | 8 | `incarnation` |
/// | 8 | `started` |
/// | 32 | `public_key` |
/// | 4 | `capabilities` |
/// | 2 + n | `id`, length first |
/// | 2 + n | `url`, length first |
/// | 2 + n | `version`, length first |
/// | 1 + n | `endpoints`, count first; each 4 or 6, address, port |
/// | 1 + n | `addresses`, count first; each 4 and 32 or 6 and 128, address |
/// | 1 + n | `groups`, count first; each 4 or 6, address |
/// | 1 + n | `secrets`, count first; 4 bytes each |
/// | 2 + n | room for fields of later versions, length first; skipped, but signed |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The member.
    pub id: NodeId,
    /// Grows with every change and every refuted suspicion; starts at the Unix time in ms of the start of its process, so
    /// that it grows over restarts too.
    pub incarnation: u64,
    /// The incarnation this process began with; of two owners of one address the earlier started one comes first.
    pub started: u64,
    /// Whether the member says goodbye.
    pub left: bool,
    /// Its control API.
    pub url: ControlUrl,
    /// Where it takes datagrams over UDP, best first, at most 8.
    pub endpoints: Vec<SocketAddr>,
    /// Its WireGuard key.
    pub public_key: [u8; 32],
    /// Its addresses as /32 and /128, at most 64.
    pub addresses: Vec<IpNet>,
    /// Multicast groups it wants, at most 64.
    pub groups: Vec<IpAddr>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The version of its program, at most 32 bytes of printable ASCII, as it is shown on terminals.
    pub version: String,
    /// Cluster secrets it knows, the one it seals with first, at most 8.
    pub secrets: Vec<KeyId>,
}

impl Record {
    /// Whether both encoded records say the same, whatever their incarnations.
    pub(crate) fn say_the_same(a: &[u8], b: &[u8]) -> bool {
        let without_incarnation = |bytes| Some((<[u8]>::get(bytes, ..2)?, <[u8]>::get(bytes, 10..)?));
        without_incarnation(a) == without_incarnation(b)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend([VERSION, u8::from(self.left) * LEFT]);
        out.extend(self.incarnation.to_be_bytes());
        out.extend(self.started.to_be_bytes());
        out.extend(self.public_key);
        out.extend(self.capabilities.0.to_be_bytes());
        put_long(&mut out, self.id.as_str().as_bytes());
        put_long(&mut out, self.url.as_str().as_bytes());
        put_long(&mut out, self.version.as_bytes());
        put_list(&mut out, &self.endpoints, |out, endpoint| put_endpoint(out, *endpoint));
        put_list(&mut out, &self.addresses, |out, host| put_host(out, *host));
        put_list(&mut out, &self.groups, |out, ip| put_ip(out, *ip));
        put_list(&mut out, &self.secrets, |out, key| out.extend(key.0));
        put_long(&mut out, &[]);
        out
    }

    /// Reads the bytes of one record, all of them.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if they are not exactly that, an address is a network, a list or text is longer than a record may hold,
    /// or the version is no printable ASCII.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let (incarnation, left) = head(&mut reader)?;
        let record = Self {
            incarnation,
            left,
            started: reader.u64()?,
            public_key: reader.array()?,
            capabilities: Capabilities(reader.u32()?),
            id: reader.text()?.parse().map_err(|_| Malformed)?,
            url: reader.text()?.parse().map_err(|_| Malformed)?,
            version: reader.text()?.to_owned(),
            endpoints: reader.list(MAX_ENDPOINTS, Reader::endpoint)?,
            addresses: reader.list(MAX_ADDRESSES, Reader::host)?,
            groups: reader.list(MAX_GROUPS, Reader::ip)?,
            secrets: reader.list(MAX_SECRETS, |reader| reader.array().map(KeyId))?,
        };
        reader.long()?;
        let version = record.version.as_bytes();
        if !reader.is_empty() || version.len() > MAX_VERSION_LEN || !version.iter().all(|c| matches!(c, b' '..=b'~')) {
            return Err(Malformed);
        }
        Ok(record)
    }

    /// The id and the incarnation, without reading the rest.
    pub(crate) fn peek(bytes: &[u8]) -> Result<(&str, u64), Malformed> {
        let mut reader = Reader::new(bytes);
        let (incarnation, _) = head(&mut reader)?;
        reader.bytes(8 + 32 + 4)?;
        Ok((reader.text()?, incarnation))
    }
}

fn head(reader: &mut Reader<'_>) -> Result<(u64, bool), Malformed> {
    let [version, flags] = reader.array()?;
    if version != VERSION || flags & !LEFT != 0 {
        return Err(Malformed);
    }
    Ok((reader.u64()?, flags & LEFT != 0))
}

/// What a node wants said of itself; incarnation and cluster secrets are filled in by [`crate::Membership`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordDraft {
    /// As in [`Record`].
    pub id: NodeId,
    /// As in [`Record`].
    pub url: ControlUrl,
    /// As in [`Record`].
    pub endpoints: Vec<SocketAddr>,
    /// As in [`Record`].
    pub public_key: [u8; 32],
    /// As in [`Record`].
    pub addresses: Vec<IpNet>,
    /// As in [`Record`].
    pub groups: Vec<IpAddr>,
    /// As in [`Record`].
    pub capabilities: Capabilities,
    /// As in [`Record`].
    pub version: String,
}

impl RecordDraft {
    /// The record this is a draft of.
    ///
    /// # Errors
    ///
    /// The first field that is longer than a record may hold; else the first address that is a network, or endpoint without
    /// a port.
    pub(crate) fn record(&self, incarnation: u64, started: u64, secrets: Vec<KeyId>) -> Result<Record, RecordError> {
        let bounds = [
            ("endpoints", self.endpoints.len(), MAX_ENDPOINTS),
            ("addresses", self.addresses.len(), MAX_ADDRESSES),
            ("groups", self.groups.len(), MAX_GROUPS),
            ("secrets", secrets.len(), MAX_SECRETS),
            ("version", self.version.len(), MAX_VERSION_LEN),
        ];
        if let Some((field, found, most)) = bounds.into_iter().find(|(_, found, most)| found > most) {
            return Err(RecordError::FieldTooLong { field, found, most });
        }
        if let Some(network) = self.addresses.iter().find(|address| address.prefix_len() != address.max_prefix_len()) {
            return Err(RecordError::AddressIsNetwork { network: *network });
        }
        if let Some(endpoint) = self.endpoints.iter().find(|endpoint| endpoint.port() == 0) {
            return Err(RecordError::EndpointWithoutPort { endpoint: *endpoint });
        }
        Ok(Record {
            id: self.id.clone(),
            incarnation,
            started,
            left: false,
            url: self.url.clone(),
            // A flow label or scope means nothing to another machine.
            endpoints: self.endpoints.iter().map(|endpoint| SocketAddr::new(endpoint.ip(), endpoint.port())).collect(),
            public_key: self.public_key,
            addresses: self.addresses.clone(),
            groups: self.groups.clone(),
            capabilities: self.capabilities,
            version: self.version.clone(),
            secrets,
        })
    }
}

/// What a member can do: a set of flags that means what its users agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// The flags of both.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }
}

/// Why a draft is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Nothing is routed to a member but its own addresses.
    #[error("{network} is a network, a record holds single addresses")]
    AddressIsNetwork {
        /// The first such address.
        network: IpNet,
    },
    /// Nothing can be sent to port 0.
    #[error("endpoint {endpoint} has no port")]
    EndpointWithoutPort {
        /// The first such endpoint.
        endpoint: SocketAddr,
    },
    /// Too many items, or too long a text.
    #[error("a record holds at most {most} (items or bytes) in {field}, found {found}")]
    FieldTooLong {
        /// Name of the field.
        field: &'static str,
        /// Items, or bytes of text.
        found: usize,
        /// As many are allowed.
        most: usize,
    },
    /// A node keeps its id as long as it runs.
    #[error("the draft is that of another node")]
    OtherId,
    /// The whole does not fit into a datagram.
    #[error(
        "a signed record has at most {most} bytes, found {found}: fewer addresses, groups or a shorter certificate"
    )]
    TooLong {
        /// Bytes found.
        found: usize,
        /// [`crate::MAX_SIGNED_LEN`].
        most: usize,
    },
}

const VERSION: u8 = 1;
const LEFT: u8 = 1;
const MAX_ENDPOINTS: usize = 8;
const MAX_ADDRESSES: usize = 64;
const MAX_GROUPS: usize = 64;
const MAX_SECRETS: usize = 8;
const MAX_VERSION_LEN: usize = 32;

#[cfg(test)]
mod tests;
