use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tunmesh_membership::RecordError;
use tunmesh_mesh::{Action, Event, Refusal, Way};
use tunmesh_protocol::NodeId;
use tunmesh_session::{PeerError, Session};

/// What is to be done, in this order.
#[derive(Clone, Debug)]
pub enum Output {
    /// The v0 core wants something of another node; its outcome is to be told.
    Action(Action),
    /// The v0 core tells something. A member that joined starts with packets going the v0 way, and without a session.
    Event(Event),
    /// How packets reach a member has changed.
    Link(NodeId, LinkChange),
    /// Worth a line in the log.
    Note(Note),
    /// Packets of a peer in `session` are to be opened from now on, before any later [`Output::Transmit`].
    SessionAdded {
        /// The peer.
        peer: NodeId,
        /// By its [`Session::local_index`].
        session: Arc<Session>,
    },
    /// A session has ended: nothing is to be opened in it.
    SessionRemoved {
        /// [`Session::local_index`].
        local_index: u32,
    },
    /// A datagram is to be sent.
    Transmit {
        /// Where to.
        to: Destination,
        /// The whole UDP payload.
        datagram: Vec<u8>,
    },
}

/// Where a datagram goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To this address.
    Address(SocketAddr),
    /// To where the peer was last heard from, which whoever takes its packets knows best.
    Peer {
        /// The peer.
        id: NodeId,
        /// And to each of these where it may be too, once each: the first that gets it answers.
        also: Vec<SocketAddr>,
    },
}

/// How packets reach a member from now on.
#[derive(Clone, Debug)]
pub enum LinkChange {
    /// It says that it is there; counts as long as it was not heard from anywhere.
    Advertised(SocketAddr),
    /// It was heard from there.
    Heard(SocketAddr),
    /// What fits a datagram.
    Largest {
        /// Largest packet, in bytes.
        bytes: usize,
        /// Whether senders of larger ones are to be told.
        settled: bool,
    },
    /// What packets are sealed in.
    Session(Option<Arc<Session>>),
    /// Where they go, those that wait first.
    Way(Way),
}

/// What somebody who looks after the mesh should know.
#[derive(Clone, Debug)]
pub enum Note {
    /// The others are not told of our changed addresses.
    AddressesUntold(RecordError),
    /// Two members claim one address; `holder` has it.
    Contested {
        /// What both claim.
        address: IpNet,
        /// Who started first.
        holder: NodeId,
        /// The other one.
        claimant: NodeId,
    },
    /// The gossip is not signed with our changed certificate.
    IdentityUnused(RecordError),
    /// A member of the gossip has no IPv4 address.
    NoAddress(NodeId),
    /// A member knows none of our cluster secrets, so there is no session with it.
    NoCommonSecret(NodeId),
    /// A member cannot have a session.
    NoSession(NodeId, PeerError),
    /// A member of the gossip is not accepted for now.
    NotAccepted(NodeId, Refusal),
    /// The gossip is not sealed with our changed secrets.
    SecretsUnused(RecordError),
}

/// Why a datagram was not heeded.
#[derive(Debug)]
pub enum Refused {
    /// As gossip.
    Gossip(tunmesh_membership::Refused),
    /// As a handshake between nodes; it may be one of somebody else.
    Handshake(tunmesh_session::Refusal),
}
