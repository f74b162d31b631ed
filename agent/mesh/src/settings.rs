use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tunmesh_protocol::{ControlUrl, Ipv4Cidr, Member, NodeId};

/// What one node is told by its configuration. The names in parentheses are those of the configuration file.
///
/// Every duration is taken as it is; the node never waits less than 100 ms where zero would make it spin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node as others are told of it.
    pub local: Member,
    /// Our IPv6 address; `None` for a mesh of IPv4 only (`ipv6`).
    pub ipv6: Option<Ipv6Settings>,
    /// `WireGuard` devices that reach the mesh through this node (`wireguard_peers`).
    pub devices: Vec<Device>,
    /// Whether broadcasts are sent and taken (`enable_broadcast`).
    pub enable_broadcast: bool,
    /// Longest wait between two attempts to register to a member that does not answer (`groom_interval`).
    ///
    /// The original looks at all members once per this interval; here everything happens when it is due.
    pub groom_interval: Duration,
    /// Time between two rounds over the URLs of a group of which no member is known (`bootstrap_retry_interval`).
    pub bootstrap_retry_interval: Duration,
    /// Time after start during which a node without members counts as healthy (`startup_grace`).
    pub startup_grace: Duration,
    /// Timers towards members in the local subnet, that of `local.address` (`local`).
    pub near: Timers,
    /// Timers towards all other members (`mesh`).
    pub far: Timers,
    /// Networks beside that of `local` that members have addresses in (`further_networks`).
    pub further_networks: Vec<Ipv4Cidr>,
    /// Wait before a member is called that another one told of: time for the gossip to vouch for it (none without gossip).
    pub hearsay_delay: Duration,
    /// Time one request may take (`request_timeout`).
    pub request_timeout: Duration,
    /// Age at which a session must have been replaced (`session_max_age`).
    pub session_max_age: Duration,
    /// How long before `session_max_age` replacing begins (`validity_window`).
    pub session_validity: Duration,
    /// Where to find the first members, by the name of the group (`bootstrap_groups`).
    pub bootstrap_groups: BTreeMap<String, BootstrapGroup>,
}

/// IPv6 inside the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Settings {
    /// Our own address.
    pub address: Ipv6Addr,
    /// Leading bits that all addresses of the mesh share, 0 to 128.
    pub prefix_len: u8,
}

impl Ipv6Settings {
    /// Whether `address` is one of the mesh.
    pub fn network_contains(&self, address: Ipv6Addr) -> bool {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_len)).unwrap_or(0);
        (u128::from(self.address) ^ u128::from(address)) & mask == 0
    }
}

/// A `WireGuard` device of somebody who is no node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What it is called among members.
    pub id: NodeId,
    /// Its addresses in the mesh.
    pub addresses: Vec<IpAddr>,
}

/// Timers that differ between the local subnet and the rest of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Time between two registrations to a member.
    pub reregistration_interval: Duration,
    /// Silence after which a member is removed.
    pub stale_threshold: Duration,
    /// Age at which a packet to a member is no longer worth sending.
    pub packet_expiration: Duration,
}

/// URLs of which at least one should lead to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapGroup {
    /// Control URLs, or those of load balancers in front of some; our own may be among them.
    pub urls: Vec<ControlUrl>,
    /// What to do when none leads to a member.
    pub retries: Retries,
}

/// How often the URLs of a group are tried again while none leads to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// Until one does (-1 in the file).
    Forever,
    /// So many times after the first; counted anew each time the last member of the group is lost.
    Times(u32),
}
