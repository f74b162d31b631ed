use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tunmesh_membership::{Counters, Health as GossipHealth};
use tunmesh_mesh::{Health, Quality, Way};
use tunmesh_protocol::{Member, NodeId};
use tunmesh_session::Suite;

use crate::peers::Peer;

/// What the owner knows, copied out.
pub(crate) struct Report {
    pub(crate) health: Health,
    pub(crate) members: Vec<KnownMember>,
    /// `None` if this node takes no datagrams.
    pub(crate) gossip: Option<GossipReport>,
    /// Claims of members that the gossip vouches for to addresses which others have.
    pub(crate) contests: Vec<Contest>,
    /// WireGuard devices of this node.
    pub(crate) devices: Vec<DeviceReport>,
}

/// A member as it was known at that moment.
pub(crate) struct KnownMember {
    /// When it last registered or answered, by our clock.
    pub(crate) last_seen: Instant,
    pub(crate) member: Member,
    /// Whether it is in our own subnet.
    pub(crate) near: bool,
    /// Its own clock at that time, in Unix seconds.
    pub(crate) stamp: i64,
    pub(crate) path: Option<PathReport>,
}

/// How packets reach a member.
#[derive(Clone, Debug)]
pub(crate) struct PathReport {
    pub(crate) way: Way,
    /// Whether both ends take datagrams, be it that none get through now.
    pub(crate) takes_datagrams: bool,
    /// Suite of the session we seal with, if there is one.
    pub(crate) suite: Option<Suite>,
    pub(crate) last_handshake: Option<Instant>,
    pub(crate) quality: Quality,
    /// Largest packet known to fit a datagram, in bytes.
    pub(crate) largest: usize,
    /// Where datagrams to it go.
    pub(crate) endpoint: Option<SocketAddr>,
    /// `None` if the gossip does not vouch for it.
    pub(crate) gossip: Option<GossipHealth>,
    /// Version of its software, if it told.
    pub(crate) version: Option<String>,
    /// Its clock minus ours when it last registered, in seconds.
    pub(crate) clock_offset_secs: Option<i64>,
}

/// A WireGuard device of this node.
pub(crate) struct DeviceReport {
    pub(crate) peer: Arc<Peer>,
    pub(crate) last_handshake: Option<Instant>,
}

/// The gossip as a whole.
pub(crate) struct GossipReport {
    pub(crate) members: usize,
    pub(crate) suspects: usize,
    pub(crate) counters: Counters,
}

/// Two nodes that claim one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contest {
    pub(crate) address: String,
    /// Who gets its packets.
    pub(crate) holder: NodeId,
    pub(crate) claimant: NodeId,
}
