use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::listing::Entries;
use crate::{ControlUrl, Ipv4Cidr, NodeId, ParseCidrError, ParseNodeIdError, ParseUrlError};

/// One node as registrations describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node's id.
    pub id: NodeId,
    /// Where its control API listens.
    pub listen_url: ControlUrl,
    /// The network of the whole mesh as that node is configured; never compared with ours.
    pub network: Ipv4Cidr,
    /// Its address in the mesh, with the prefix of its own subnet.
    pub address: Ipv4Cidr,
}

impl Member {
    /// Looks at all field names before any value, so that an unknown field is never taken for a bad value.
    pub(super) fn parse(value: &Value) -> Result<Self, MemberError> {
        let member = Fields::of(value, ["id", "listen_url", NETWORK, ADDRESS])?;
        let network = nested_cidr(member.value(2))?;
        let address = nested_cidr(member.value(3))?;
        Ok(Self {
            id: text(member.value(0), "id")?.parse().map_err(|source| MemberError::Id { source })?,
            listen_url: text(member.value(1), "listen_url")?
                .parse()
                .map_err(|source| MemberError::ListenUrl { source })?,
            network: cidr(network, NETWORK)?,
            address: cidr(address, ADDRESS)?,
        })
    }
}

impl Serialize for Member {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let family = |cidr| Entries(std::iter::once(("ipv4", Entries(std::iter::once(("cidr", cidr))))));
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("listen_url", &self.listen_url)?;
        map.serialize_entry(NETWORK, &family(self.network))?;
        map.serialize_entry(ADDRESS, &family(self.address))?;
        map.end()
    }
}

/// Why an object describes no member.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// A CIDR is none of IPv4.
    #[error("{field} is not an IPv4 CIDR")]
    Cidr {
        /// Where it stands.
        field: &'static str,
        /// What the parser says.
        source: ParseCidrError,
    },
    /// The id cannot be one.
    #[error("id is not a node id")]
    Id {
        /// What the parser says.
        source: ParseNodeIdError,
    },
    /// The URL cannot be called.
    #[error("listen_url is not a control URL")]
    ListenUrl {
        /// What the parser says.
        source: ParseUrlError,
    },
    /// An address without the prefix of its subnet.
    #[error("{field} has no prefix length")]
    NoPrefix {
        /// Where it stands.
        field: &'static str,
    },
    /// Something else where an object must stand.
    #[error("not an object")]
    NotAnObject,
    /// A field is absent or no text.
    #[error("{field} is missing or not text")]
    NotText {
        /// The field.
        field: &'static str,
    },
    /// A field that is not part of the protocol.
    #[error("unknown field {field:?}")]
    UnknownField {
        /// Its name, or the beginning of it.
        field: String,
    },
}

/// The values of an object by the position of their names; absent is null, as in the original.
pub(super) struct Fields<'v, const N: usize>([&'v Value; N]);

impl<'v, const N: usize> Fields<'v, N> {
    pub(super) fn of(value: &'v Value, names: [&str; N]) -> Result<Self, MemberError> {
        let object: &Map<String, Value> = value.as_object().ok_or(MemberError::NotAnObject)?;
        if let Some(unknown) = object.keys().find(|key| !names.contains(&key.as_str())) {
            return Err(MemberError::UnknownField { field: unknown.chars().take(MAX_SHOWN).collect() });
        }
        Ok(Self(names.map(|name| object.get(name).unwrap_or(&Value::Null))))
    }

    pub(super) fn value(&self, index: usize) -> &'v Value {
        self.0[index]
    }
}

/// The text of `{"ipv4":{"cidr":<text>}}`, or null where one of these is absent or no object.
fn nested_cidr(value: &Value) -> Result<&Value, MemberError> {
    let mut value = value;
    for name in ["ipv4", "cidr"] {
        if !value.is_object() {
            return Ok(&Value::Null);
        }
        value = Fields::of(value, [name])?.value(0);
    }
    Ok(value)
}

fn cidr(value: &Value, field: &'static str) -> Result<Ipv4Cidr, MemberError> {
    let text = text(value, field)?;
    if !text.contains('/') {
        return Err(MemberError::NoPrefix { field });
    }
    text.parse().map_err(|source| MemberError::Cidr { field, source })
}

fn text<'v>(value: &'v Value, field: &'static str) -> Result<&'v str, MemberError> {
    value.as_str().ok_or(MemberError::NotText { field })
}

const ADDRESS: &str = "node_addresses";
const NETWORK: &str = "network_addresses";

/// Characters of a foreign text that an error repeats.
const MAX_SHOWN: usize = 40;
