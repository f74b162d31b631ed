//! What the owner itself sends: datagrams, and packets that waited for a way.

use std::net::SocketAddr;
use std::time::Instant;

use tunmesh_mesh::{DropReason, Way};
use tunmesh_session::Session;

use crate::data::{QueuedPacket, Socket};
use crate::peers::Peer;
use crate::shared::Shared;
use crate::stream::QueuedCapsule;

/// Sends the packets that waited for a way.
pub(super) fn flush(shared: &Shared, socket: Option<&Socket>, peer: &Peer, way: Way, now: Instant) {
    for packet in peer.link.take_waiting() {
        match way {
            Way::Unknown => {}
            Way::Udp => {
                if let Some(session) = peer.link.session().as_ref() {
                    send_sealed(socket, peer, session, packet.len(), |out| out.copy_from_slice(&packet));
                    session.note_sent(now, true);
                    peer.counters.tx.add(packet.len());
                    shared.counters.remote_tx.add(packet.len());
                }
            }
            Way::Stream => {
                if peer.stream.push(QueuedCapsule::whole(&packet, now)).is_err() {
                    peer.counters.drops.add(DropReason::QueueFull);
                }
            }
            Way::V0 => {
                let queued = QueuedPacket::new(packet, now, shared.clock);
                if peer.queue.push(queued).is_err() {
                    peer.counters.drops.add(DropReason::QueueFull);
                }
            }
        }
    }
}

/// Moves packets that wait for a lane or a stream to the other one, if that is where packets go now.
pub(super) fn requeue(shared: &Shared, peer: &Peer, way: Way, now: Instant) {
    let lost: usize = match way {
        Way::Stream => {
            let mut packets = Vec::new();
            peer.queue.take(usize::MAX, &mut packets);
            let capsules = packets.iter().map(|packet| QueuedCapsule::whole(&packet.data, packet.read_at));
            capsules.map(|capsule| usize::from(peer.stream.push(capsule).is_err())).sum()
        }
        Way::V0 => {
            let capsules = std::iter::from_fn(|| peer.stream.pop());
            let packets = capsules.flat_map(QueuedCapsule::into_packets);
            let queued = packets.map(|packet| QueuedPacket::new(packet, now, shared.clock));
            queued.map(|packet| usize::from(peer.queue.push(packet).is_err())).sum()
        }
        // Lane and stream send what they have.
        Way::Udp | Way::Unknown => 0,
    };
    shared.counters.drops.add_many(DropReason::QueueFull, lost);
    peer.counters.drops.add_many(DropReason::QueueFull, lost);
}

/// Seals a message of `len` bytes and sends it.
pub(super) fn send_sealed(
    socket: Option<&Socket>,
    peer: &Peer,
    session: &Session,
    len: usize,
    write: impl FnOnce(&mut [u8]),
) {
    let (Some(socket), Some(endpoint), Some(counter)) = (socket, peer.link.endpoint(), session.reserve(1)) else {
        return;
    };
    let mut datagram = vec![0; Session::HEADER_LEN + len + Session::TAG_LEN];
    write(&mut datagram[Session::HEADER_LEN..Session::HEADER_LEN + len]);
    session.seal(counter, 0, &mut datagram);
    send(socket, endpoint, &datagram);
}

pub(super) fn send(socket: &Socket, to: SocketAddr, datagram: &[u8]) {
    if let Err(error) = socket.send(to, datagram, datagram.len()) {
        tracing::debug!(%to, %error, "datagram not sent");
    }
}
