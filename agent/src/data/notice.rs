use std::net::SocketAddr;
use std::time::Instant;

use tokio::sync::mpsc;
use tunmesh_protocol::NodeId;

/// What a packet thread leaves to the owner.
pub(crate) enum Notice {
    /// A handshake or gossip message.
    Datagram { from: SocketAddr, bytes: Box<[u8]> },
    /// The peer uses the session that it answered.
    Confirmed { local_index: u32 },
    /// A ping of ours came back.
    Pong { peer: NodeId, number: u64, len: usize, at: Instant },
    /// A multicast report of an application on this host.
    Snooped(Box<[u8]>),
    /// The outgoing interface takes no datagram of `len` bytes.
    TooBig { to: SocketAddr, len: usize },
    /// Packets wait for a way to this peer.
    Wanted(NodeId),
}

/// The packet threads' end of the way to the owner.
#[derive(Clone)]
pub(crate) struct Notices(mpsc::Sender<Notice>);

impl Notices {
    /// A connected pair.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Notice>) {
        let (sender, receiver) = mpsc::channel(NOTICES);
        (Self(sender), receiver)
    }

    /// Tells the owner; when it lags far behind the notice is lost, as a datagram may be.
    pub(crate) fn send(&self, notice: Notice) {
        let _full = self.0.try_send(notice);
    }
}

/// Notices that may wait for the owner.
const NOTICES: usize = 1024;
