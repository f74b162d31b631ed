//! Between members as records describe them and as the v0 core does.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use tunmesh_membership::{Capabilities, Record, RecordDraft};
use tunmesh_mesh::Vouched;
use tunmesh_protocol::config::{Config, Networking, SuiteChoice};
use tunmesh_protocol::{Ipv4Cidr, Member, NodeId};

use crate::wireguard;

/// The member prefers AES-256-GCM.
pub(super) const AES_GCM: Capabilities = Capabilities(1);
/// The member takes IP packets in a TLS stream.
pub(super) const STREAM: Capabilities = Capabilities(2);

/// What this node says of itself. Its own IPv4 address comes first.
pub(crate) fn draft(config: &Config, id: &NodeId, public_key: [u8; 32], endpoints: Vec<SocketAddr>) -> RecordDraft {
    let networking = &config.networking;
    let plane = &networking.data_plane;
    let has_aes = match plane.suite {
        SuiteChoice::Auto => cpu_has_aes(),
        SuiteChoice::AesGcm => true,
        SuiteChoice::ChaChaPoly => false,
    };
    let flags = [(has_aes, AES_GCM), (plane.paths.stream, STREAM)];
    let capabilities =
        flags.into_iter().filter(|(on, _)| *on).fold(Capabilities::default(), |all, (_, flag)| all.with(flag));
    RecordDraft {
        id: id.clone(),
        url: config.clustering.control_api_advertise_url.clone(),
        endpoints,
        public_key,
        addresses: addresses(networking).into_iter().map(IpNet::from).collect(),
        groups: Vec::new(),
        capabilities,
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

/// All addresses of the mesh that lead to this node, its own IPv4 address first.
pub(crate) fn addresses(networking: &Networking) -> Vec<IpAddr> {
    let own = IpAddr::V4(networking.ipv4.node_address_cidr.address());
    let ipv6 = networking.ipv6.map(|ipv6| IpAddr::V6(ipv6.address));
    let devices = networking.wireguard_peers.values().flat_map(|device| wireguard::addresses(networking, device));
    std::iter::once(own).chain(ipv6).chain(devices).collect()
}

/// The member a record describes, and what it says beyond; `None` if it has no IPv4 address.
///
/// The original tells the subnet of a node too, a record does not: that of `known` is kept, else ours is as good as any, as
/// nothing depends on it.
pub(super) fn member_of(record: &Record, known: Option<&Member>, local: &Member) -> Option<(Member, Vouched)> {
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

/// Whether the processor computes AES-GCM faster than ChaCha20-Poly1305.
fn cpu_has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let found = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let found = std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found = false;
    found
}
