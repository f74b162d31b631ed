//! Between members as records describe them and as the v0 core does.

use std::net::IpAddr;

use ipnet::IpNet;
use tunmesh_membership::{Capabilities, Record};
use tunmesh_mesh::Vouched;
use tunmesh_protocol::{Ipv4Cidr, Member};
use tunmesh_session::{PresharedKey, PublicKey, Suite};

use crate::keys;
use crate::settings::Settings;

/// The member prefers our own suite, as its processor has AES instructions.
const OWN_SUITE: Capabilities = Capabilities(1);
/// The member takes IP packets in a TLS stream.
pub(crate) const STREAM: Capabilities = Capabilities(2);

/// What a record says of a node that prefers our own suite to that of WireGuard, or takes streams.
pub fn capabilities(own_suite: bool, stream: bool) -> Capabilities {
    let flags = [(own_suite, OWN_SUITE), (stream, STREAM)];
    flags.into_iter().filter(|(on, _)| *on).fold(Capabilities::default(), |all, (_, flag)| all.with(flag))
}

/// The member a record describes, and what it says beyond; `None` if it has no IPv4 address.
///
/// The original tells the subnet of a node too, a record does not: that of `known` is kept, else ours is as good as any, as
/// nothing depends on it.
pub(crate) fn member_of(record: &Record, known: Option<&Member>, local: &Member) -> Option<(Member, Vouched)> {
    let mut addresses = record.addresses.iter().map(IpNet::addr);
    let IpAddr::V4(address) = addresses.next()? else {
        return None;
    };
    let subnet = known.map(|known| known.address).filter(|known| known.address() == address).unwrap_or(local.address);
    let address = Ipv4Cidr::new(address, subnet.prefix_len()).ok()?;
    let member = Member { id: record.id.clone(), listen_url: record.url.clone(), network: local.network, address };
    let vouched = Vouched { addresses: addresses.collect(), groups: record.groups.clone(), started_at: record.started };
    Some((member, vouched))
}

/// What both ends of a session must agree on: it follows from the two records alone. `None` without a common secret.
pub(crate) fn agreed(settings: &Settings, own: &Record, record: &Record) -> Option<tunmesh_session::PeerSettings> {
    let known: Vec<_> = own.secrets.iter().copied().zip(&settings.secrets).collect();
    let key = keys::preshared(&known, &record.secrets, (&own.id, &record.id))?;
    let both = own.capabilities.contains(OWN_SUITE) && record.capabilities.contains(OWN_SUITE);
    Some(tunmesh_session::PeerSettings {
        public_key: PublicKey::from_bytes(record.public_key),
        preshared_key: Some(PresharedKey::from_bytes(key)),
        suite: if both { Suite::Aegis } else { Suite::ChaChaPoly },
        keepalive: settings.keepalive,
    })
}
