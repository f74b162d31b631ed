use std::sync::Arc;

use ipnet::IpNet;
use tunmesh_protocol::NodeId;

use crate::record::Record;

/// What changed among the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member says something else than before.
    Changed(Arc<Record>),
    /// Two members, one of which may be this node, claim the same address. Both stay members.
    Contested {
        /// What both claim.
        address: IpNet,
        /// The one that started first, then the smaller id: the same on every node.
        holder: Arc<Record>,
        /// The other one.
        claimant: Arc<Record>,
    },
    /// A member is gone.
    Down {
        /// The member.
        id: NodeId,
        /// Whether it said goodbye.
        left: bool,
    },
    /// A member is there, for the first time or again.
    Up(Arc<Record>),
}

/// Whether a member is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As far as is known.
    Alive,
    /// Somebody did not hear from it; it is still to be used.
    Suspect,
}

/// What happened since the start, each a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams handed in.
    pub datagrams_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams to be sent.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Datagrams refused, for any reason but [`crate::Refused::Record`].
    pub datagrams_refused: u64,
    /// Records refused.
    pub records_refused: u64,
    /// Records taken over: new ones, and newer ones of known members.
    pub records_accepted: u64,
    /// Probes begun.
    pub probes: u64,
    /// Probes that neither the member nor anybody else answered for.
    pub probes_failed: u64,
    /// Members that became suspect.
    pub suspicions: u64,
    /// Suspicions of this node that it refuted.
    pub refutations: u64,
    /// Members that did not refute in time.
    pub deaths: u64,
}
