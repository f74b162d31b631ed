//! What the shell keeps per member beside the mesh core: sessions, connections, the queue of its lane, counters.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::RwLock;
use tunmesh_mesh::Way;
use tunmesh_protocol::{ControlUrl, Member, NodeId, Token};

use crate::client::Channel;
use crate::counters::PeerCounters;
use crate::data::{Link, Queue};
use crate::stream::StreamQueue;

/// One member as the tasks that talk to it share it. Made when it joins, dropped when it leaves.
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    /// Kept-alive connection for control requests; packets have their own in the lane.
    pub(crate) channel: Channel,
    pub(crate) counters: PeerCounters,
    /// Held for reading while a request signed with [`Self::outbound`] is unanswered, for writing to replace it: the
    /// peer forgets the old token the moment it makes the new one.
    pub(crate) gate: Arc<RwLock<()>>,
    /// Tokens this node made, the peer signs with the newest.
    inbound: ArcSwapOption<InboundSessions>,
    member: ArcSwap<Member>,
    /// What the file calls it, if it is a WireGuard device of ours. Such a peer has no lane, and never a session of the
    /// control protocol.
    pub(crate) name: Option<String>,
    /// Session the peer made for us to sign with.
    pub(crate) outbound: ArcSwapOption<OutboundSession>,
    /// How packets reach the peer right now.
    pub(crate) link: Link,
    /// Packets waiting for the peer's lane.
    pub(crate) queue: Queue,
    /// Packets waiting for the stream to the peer.
    pub(crate) stream: StreamQueue,
    /// Whether the peer is of our kind and takes further requests on a connection before the first is answered.
    pub(crate) takes_pipelining: AtomicBool,
}

/// The session this node signs with towards one peer.
pub(crate) struct OutboundSession {
    pub(crate) token: Token,
    pub(crate) opened_at: Instant,
}

/// The sessions a peer signs with towards us.
struct InboundSessions {
    current: Arc<InboundSession>,
    /// The one before, good for verifying an answer that was signed before the peer learned of the rotation.
    previous: Option<Arc<InboundSession>>,
}

/// A session this node made, with its time.
pub(crate) struct InboundSession {
    pub(crate) token: Token,
    pub(crate) made_at: Instant,
}

impl Peer {
    /// A member.
    pub(crate) fn new(member: Member) -> Self {
        Self::with(member, None, Way::V0)
    }

    /// A WireGuard device: a member through this node, so `member` has our URL.
    pub(crate) fn device(name: String, member: Member) -> Self {
        Self::with(member, Some(name), Way::Unknown)
    }

    fn with(member: Member, name: Option<String>, way: Way) -> Self {
        Self {
            id: member.id.clone(),
            channel: Channel::to_member(member.address.address()),
            counters: PeerCounters::default(),
            gate: Arc::default(),
            inbound: ArcSwapOption::empty(),
            member: ArcSwap::from_pointee(member),
            outbound: ArcSwapOption::empty(),
            link: Link::new(way),
            name,
            queue: Queue::default(),
            stream: StreamQueue::default(),
            takes_pipelining: AtomicBool::new(false),
        }
    }

    /// Its IPv4 address in the mesh, which never changes.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.member.load().address.address()
    }

    /// Where the peer listens now.
    pub(crate) fn url(&self) -> ControlUrl {
        self.member.load().listen_url.clone()
    }

    /// Takes note that the peer listens elsewhere, or reports another subnet.
    pub(crate) fn update(&self, member: &Member) {
        if **self.member.load() != *member {
            self.member.store(Arc::new(member.clone()));
        }
    }

    /// Packets that wait for the peer's lane or stream.
    pub(crate) fn queued_packets(&self) -> usize {
        self.queue.len() + self.stream.len()
    }

    /// The session requests of the peer must be signed with.
    pub(crate) fn inbound_session(&self) -> Option<Arc<InboundSession>> {
        self.inbound.load().as_ref().map(|sessions| Arc::clone(&sessions.current))
    }

    /// The sessions an answer of the peer may be signed with, newest first.
    pub(crate) fn inbound_answer_sessions(&self) -> Vec<Arc<InboundSession>> {
        let sessions = self.inbound.load();
        sessions.iter().flat_map(|kept| [Some(Arc::clone(&kept.current)), kept.previous.clone()]).flatten().collect()
    }

    /// Puts a session this node made in place of the running one, which is refused from now on.
    pub(crate) fn replace_inbound(&self, token: Token, now: Instant) {
        let current = Arc::new(InboundSession { token, made_at: now });
        self.inbound.store(Some(Arc::new(InboundSessions { current, previous: self.inbound_session() })));
    }
}
