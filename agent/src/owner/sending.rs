//! What the owner itself sends: datagrams, and packets that waited for a way.

use std::net::SocketAddr;
use std::time::Instant;

use tunmesh_mesh::{DropReason, Way};
use tunmesh_session::Session;

use crate::data::{QueuedPacket, Socket};
use crate::peers::Peer;
use crate::shared::Shared;
use crate::stream::QueuedCapsule;

/// Sends the packets that waited for a way; drops them if there is none.
pub(super) fn flush(shared: &Shared, socket: Option<&Socket>, peer: &Peer, way: Way, now: Instant) {
    for packet in peer.link.take_waiting() {
        let outcome = match way {
            Way::Unknown => Err(DropReason::Expired),
            Way::Udp => send_packet(shared, socket, peer, &packet, now),
            Way::Stream => peer.stream.push(QueuedCapsule::whole(&packet, now)).map_err(|_full| DropReason::QueueFull),
            Way::V0 => {
                let queued = QueuedPacket::new(packet, now, shared.clock);
                peer.queue.push(queued).map_err(|_full| DropReason::QueueFull)
            }
        };
        if let Err(reason) = outcome {
            shared.counters.drops.add(reason);
            peer.counters.drops.add(reason);
        }
    }
}

fn send_packet(
    shared: &Shared,
    socket: Option<&Socket>,
    peer: &Peer,
    packet: &[u8],
    now: Instant,
) -> Result<(), DropReason> {
    let session = peer.link.session();
    let session = session.as_ref().ok_or(DropReason::NoSession)?;
    send_sealed(socket, peer, session, packet.len(), |out| out.copy_from_slice(packet))?;
    session.note_sent(now, true);
    peer.counters.tx.add(packet.len());
    shared.counters.remote_tx.add(packet.len());
    Ok(())
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

/// Seals a message of `len` bytes and sends it. Errors: [`DropReason::NoSession`] when the session can seal no more or it is
/// not known where to send to, [`DropReason::Unsent`] when the kernel did not take it.
pub(super) fn send_sealed(
    socket: Option<&Socket>,
    peer: &Peer,
    session: &Session,
    len: usize,
    write: impl FnOnce(&mut [u8]),
) -> Result<(), DropReason> {
    let (Some(socket), Some(endpoint), Some(counter)) = (socket, peer.link.endpoint(), session.reserve(1)) else {
        return Err(DropReason::NoSession);
    };
    let mut datagram = vec![0; Session::HEADER_LEN + len + Session::TAG_LEN];
    write(&mut datagram[Session::HEADER_LEN..Session::HEADER_LEN + len]);
    session.seal(counter, 0, &mut datagram);
    socket.send(endpoint, &datagram, datagram.len()).map_err(|error| {
        tracing::debug!(to = %endpoint, %error, "datagram not sent");
        DropReason::Unsent
    })
}

pub(super) fn send(socket: &Socket, to: SocketAddr, datagram: &[u8]) {
    if let Err(error) = socket.send(to, datagram, datagram.len()) {
        tracing::debug!(%to, %error, "datagram not sent");
    }
}
