//! What is known of a cluster beside its objects of ours. Data alone; who finds it out is in [`mesh`](crate::mesh).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::IpNet;

/// What else there is in the cluster that a mesh has to do with.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Networks of pods, Services and nodes.
    pub occupied: Vec<Occupied>,
    /// Addresses of nodes at which a `NodePort` answers.
    pub nodes: Vec<String>,
    /// Nodes whose node helper is ready.
    pub helpers: BTreeSet<String>,
    /// Whether pods with the label are sent to the webhook.
    pub webhook: bool,
}

/// A network that something else in the cluster uses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Occupied {
    /// The network.
    pub network: IpNet,
    /// Who uses it, for people: `pods of node a`.
    pub by: String,
    /// Whether that is another mesh.
    pub mesh: bool,
}

/// What a few members said last.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Look {
    /// Mesh addresses of the members they know, none that has gone silent.
    pub members: BTreeSet<Ipv4Addr>,
    /// Largest packet, in bytes, that fits every path they have measured.
    pub largest_packet: Option<u16>,
}
