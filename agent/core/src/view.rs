use std::time::Instant;

use ipnet::IpNet;
use tunmesh_membership::{Counters, Health};
use tunmesh_mesh::{Quality, Way};
use tunmesh_protocol::NodeId;
use tunmesh_session::Suite;

/// How packets reach a member.
#[derive(Clone, Debug)]
pub struct PathView {
    /// The way they go.
    pub way: Way,
    /// Whether both ends take datagrams, be it that none get through now.
    pub takes_datagrams: bool,
    /// Suite of the session they are sealed in, if there is one.
    pub suite: Option<Suite>,
    /// When that or the one before was made.
    pub last_handshake: Option<Instant>,
    /// How well datagrams get through.
    pub quality: Quality,
    /// Largest packet known to fit a datagram, in bytes.
    pub largest: usize,
    /// `None` if the gossip does not vouch for it.
    pub gossip: Option<Health>,
    /// Version of its software, if it told.
    pub version: Option<String>,
    /// Its clock minus ours when it last registered, in seconds.
    pub clock_offset_secs: Option<i64>,
}

/// The gossip as a whole.
#[derive(Clone, Copy, Debug)]
pub struct GossipView {
    /// Others that are there.
    pub members: usize,
    /// Of these, those that somebody did not hear from.
    pub suspects: usize,
    /// What happened since the start.
    pub counters: Counters,
}

/// Two nodes that claim one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// What both claim.
    pub address: IpNet,
    /// Who gets its packets.
    pub holder: NodeId,
    /// The other one.
    pub claimant: NodeId,
}
