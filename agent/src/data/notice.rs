use std::net::SocketAddr;
use std::time::Instant;

use tokio::sync::mpsc;
use tunmesh_membership::MAX_DATAGRAM_LEN;
use tunmesh_mesh::DropReason;
use tunmesh_protocol::NodeId;

use crate::peers::Peer;

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

/// The packet threads' end of the way to the owner. Datagrams, which anybody can send, do not crowd out the rest.
#[derive(Clone)]
pub(crate) struct Notices {
    datagrams: mpsc::Sender<Notice>,
    others: mpsc::Sender<Notice>,
}

/// The owner's end.
pub(crate) struct Noticed {
    datagrams: mpsc::Receiver<Notice>,
    others: mpsc::Receiver<Notice>,
}

impl Notices {
    /// A connected pair.
    pub(crate) fn channel() -> (Self, Noticed) {
        let (datagrams, datagrams_noticed) = mpsc::channel(DATAGRAMS);
        let (others, others_noticed) = mpsc::channel(NOTICES);
        (Self { datagrams, others }, Noticed { datagrams: datagrams_noticed, others: others_noticed })
    }

    /// Tells the owner; when it lags far behind the notice is lost, as a datagram may be.
    pub(crate) fn send(&self, notice: Notice) {
        let _full = self.others.try_send(notice);
    }

    /// Hands over a datagram that carries no packet, unless it is longer than any there is or the owner lags far behind.
    pub(crate) fn send_datagram(&self, from: SocketAddr, bytes: &[u8]) -> Result<(), DropReason> {
        if bytes.len() > MAX_DATAGRAM_LEN {
            return Err(DropReason::Malformed);
        }
        let room = self.datagrams.try_reserve().map_err(|_full| DropReason::QueueFull)?;
        room.send(Notice::Datagram { from, bytes: bytes.into() });
        Ok(())
    }

    /// Asks for a way to `peer`, unless that was done already. When the question is lost, the next packet asks again.
    pub(crate) fn want(&self, peer: &Peer) {
        if peer.link.ask() && self.others.try_send(Notice::Wanted(peer.id.clone())).is_err() {
            peer.link.ask_again();
        }
    }
}

impl Noticed {
    /// The next notice; `None` once nobody can send one any more. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Option<Notice> {
        tokio::select! {
            Some(notice) = self.others.recv() => Some(notice),
            Some(datagram) = self.datagrams.recv() => Some(datagram),
            else => None,
        }
    }
}

/// Datagrams that may wait for the owner: 1.2 MiB.
const DATAGRAMS: usize = 1024;

/// Other notices that may.
const NOTICES: usize = 1024;

#[cfg(test)]
mod tests {
    use tunmesh_protocol::Member;

    use super::*;

    fn peer() -> Peer {
        let address = "10.0.0.2/24".parse().unwrap();
        let (id, listen_url) = (NodeId::from_random([2; 16]), "https://10.77.0.2:4567".parse().unwrap());
        Peer::new(Member { id, listen_url, network: "10.0.0.0/16".parse().unwrap(), address })
    }

    #[test]
    fn a_lost_question_is_asked_again_with_the_next_packet() {
        let (notices, mut noticed) = Notices::channel();
        let peer = peer();
        while notices.others.try_send(Notice::Confirmed { local_index: 0 }).is_ok() {}
        notices.want(&peer);
        while noticed.others.try_recv().is_ok() {}

        notices.want(&peer);
        notices.want(&peer);

        assert!(matches!(noticed.others.try_recv(), Ok(Notice::Wanted(id)) if id == peer.id));
        assert!(noticed.others.try_recv().is_err(), "asked twice");
    }

    #[tokio::test]
    async fn a_flood_of_datagrams_leaves_room_for_questions() {
        let (notices, mut noticed) = Notices::channel();
        let (from, peer) = (SocketAddr::from(([10, 0, 0, 9], 1)), peer());
        let sent = std::iter::from_fn(|| notices.send_datagram(from, &[4; MAX_DATAGRAM_LEN]).ok()).count();
        assert_eq!(sent, DATAGRAMS);
        assert_eq!(notices.send_datagram(from, &[4]), Err(DropReason::QueueFull));

        notices.want(&peer);
        drop(notices);

        let mut wanted = 0;
        while let Some(notice) = noticed.recv().await {
            wanted += usize::from(matches!(notice, Notice::Wanted(_)));
        }
        assert_eq!(wanted, 1);
    }

    #[test]
    fn datagrams_longer_than_any_of_ours_are_not_kept() {
        let (notices, mut noticed) = Notices::channel();
        let from = SocketAddr::from(([10, 0, 0, 9], 1));

        assert_eq!(notices.send_datagram(from, &[4; MAX_DATAGRAM_LEN + 1]), Err(DropReason::Malformed));

        assert!(noticed.datagrams.try_recv().is_err());
    }
}
