use std::time::Duration;

use ipnet::IpNet;
use tunmesh_membership::Identity;
use tunmesh_protocol::Secret;
use tunmesh_protocol::config::Paths;

/// What the core is told beside the settings of its parts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster secrets in force, the one to seal with first.
    pub secrets: Vec<Secret>,
    /// Longest silence towards a peer, for address translators between (`networking/data_plane/keepalive`).
    pub keepalive: Option<Duration>,
    /// Ways that packets of this node may go; `udp` only if it has a socket.
    pub paths: Paths,
    /// Largest packet on the device, in bytes.
    pub mtu: usize,
}

/// Another configuration of a core that runs.
pub struct Change {
    /// Of the v0 core.
    pub node: tunmesh_mesh::Settings,
    /// Of the core itself. `paths` count for peers that come later.
    pub core: Settings,
    /// Addresses that lead to this node, its own IPv4 address first.
    pub addresses: Vec<IpNet>,
    /// What signs our record from now on, if that changes.
    pub identity: Option<Box<dyn Identity>>,
}
