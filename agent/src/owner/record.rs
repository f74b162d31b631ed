//! What this node says of itself.

use std::net::SocketAddr;

use ipnet::IpNet;
use tunmesh_core::capabilities;
use tunmesh_membership::RecordDraft;
use tunmesh_protocol::NodeId;
use tunmesh_protocol::config::{Config, SuiteChoice};

use crate::settings;

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
        addresses: settings::addresses(networking).into_iter().map(IpNet::from).collect(),
        groups: Vec::new(),
        capabilities: capabilities(has_aes, plane.paths.stream),
        version: env!("CARGO_PKG_VERSION").into(),
    }
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
