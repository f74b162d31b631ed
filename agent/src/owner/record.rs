//! What this node says of itself.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use tunmesh_core::capabilities;
use tunmesh_membership::RecordDraft;
use tunmesh_protocol::NodeId;
use tunmesh_protocol::config::{Config, Networking, SuiteChoice};

use crate::wireguard;

/// What this node says of itself. Its own IPv4 address comes first.
pub(crate) fn draft(config: &Config, id: &NodeId, public_key: [u8; 32], endpoints: Vec<SocketAddr>) -> RecordDraft {
    let networking = &config.networking;
    let plane = &networking.data_plane;
    let has_aes = match plane.suite {
        SuiteChoice::Auto => cpu_has_aes(),
        SuiteChoice::Aegis => true,
        SuiteChoice::ChaChaPoly => false,
    };
    RecordDraft {
        id: id.clone(),
        url: config.clustering.control_api_advertise_url.clone(),
        endpoints,
        public_key,
        addresses: addresses(networking).into_iter().map(IpNet::from).collect(),
        groups: Vec::new(),
        capabilities: capabilities(has_aes, plane.paths.stream),
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

/// All addresses of the mesh that lead to this node, its own IPv4 address first.
pub(crate) fn addresses(networking: &Networking) -> Vec<IpAddr> {
    let own = IpAddr::V4(networking.ipv4.node_address_cidr.address());
    let ipv6 = networking.ipv6.map(|ipv6| IpAddr::V6(ipv6.address));
    let devices =
        networking.wireguard_peers.values().flat_map(|device| wireguard::addresses(networking, device.address));
    std::iter::once(own).chain(ipv6).chain(devices).collect()
}

/// Whether the processor seals with AEGIS-128L faster than with ChaCha20-Poly1305; it does with AES instructions.
fn cpu_has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let found = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("avx");
    #[cfg(target_arch = "aarch64")]
    let found = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found = false;
    found
}
