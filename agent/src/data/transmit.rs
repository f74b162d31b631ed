use std::io;
use std::sync::Arc;
use std::time::Instant;

use tunmesh_core::{Control, ControlKind};
use tunmesh_mesh::{DropReason, Outbound, Way};
use tunmesh_packet::{IpHeader, L4Checksum, Offload, Segments, Version, protocol, split, too_big};
use tunmesh_session::{Session, Suite};

use super::notice::{Notice, Notices};
use super::outgoing::Outgoing;
use super::socket::Socket;
use super::{Device, QueuedPacket};
use crate::peers::Peer;
use crate::shared::{Forwarding, Shared};
use crate::stream::QueuedCapsule;

/// The half of a packet thread that sends: from the device, and whatever the receiving half passes on.
pub(super) struct Transmitter {
    pub(super) shared: Arc<Shared>,
    pub(super) device: Arc<Device>,
    pub(super) notices: Notices,
    queue: usize,
    socket: Option<Arc<Socket>>,
    outgoing: Outgoing,
    frame: Vec<u8>,
}

impl Transmitter {
    pub(super) fn new(
        shared: Arc<Shared>,
        device: Arc<Device>,
        notices: Notices,
        queue: usize,
        socket: Option<Arc<Socket>>,
    ) -> Self {
        let outgoing = Outgoing::new(socket.as_ref().map_or(1, |socket| socket.max_segments()));
        Self { shared, device, notices, queue, socket, outgoing, frame: Vec::new() }
    }

    /// Reads and sends until nothing waits or a good deal has been sent; says whether anything was read.
    pub(super) fn turn(&mut self, forwarding: &Forwarding, now: Instant) -> io::Result<bool> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.resize(Offload::LEN + MAX_PACKET, 0);
        let mut any = false;
        let outcome = loop {
            if self.outgoing.is_full() {
                break Ok(());
            }
            match self.device.queue(self.queue).read(&mut frame) {
                Ok(len) => {
                    any = true;
                    self.frame_read(forwarding, &frame[..len], now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.frame = frame;
        self.flush();
        outcome.map(|()| any)
    }

    fn frame_read(&mut self, forwarding: &Forwarding, frame: &[u8], now: Instant) {
        let (offload, packet) = if self.device.offloads().header {
            match (Offload::parse(frame), frame.get(Offload::LEN..)) {
                (Ok(offload), Some(packet)) => (offload, packet),
                _ => return self.drop(None, DropReason::Malformed, 1),
            }
        } else {
            (Offload::default(), frame)
        };
        let (Ok(header), Ok(segments)) = (tunmesh_packet::parse(packet), split(packet, &offload)) else {
            self.shared.counters.tun_rx.add(packet.len());
            return self.drop(None, DropReason::Malformed, 1);
        };
        self.shared.counters.tun_rx.add_many(segments.count(), segments.total_len());
        if is_group_report(&header) {
            return self.notices.send(Notice::Snooped(packet.into()));
        }
        match forwarding.routes.outbound(&header) {
            Ok(Outbound::Unicast(id)) => self.send_to(forwarding.peers.get(id), packet, &offload, &segments, now),
            Ok(Outbound::Broadcast(ids)) => {
                for id in ids {
                    self.send_to(forwarding.peers.get(id), packet, &offload, &segments, now);
                }
            }
            Err(reason) => {
                tracing::trace!(reason = reason.as_str(), "packet from the device dropped");
                self.drop(None, reason, 1);
            }
        }
    }

    fn send_to(
        &mut self,
        peer: Option<&Arc<Peer>>,
        packet: &[u8],
        offload: &Offload,
        segments: &Segments<'_>,
        now: Instant,
    ) {
        match peer {
            Some(peer) => self.send(peer, packet, offload, segments, now),
            None => self.drop(None, DropReason::NoRoute, segments.count()),
        }
    }

    /// Sends the segments of `packet`, which is as `offload` says, to `peer` on the way its packets go at the moment.
    pub(super) fn send(
        &mut self,
        peer: &Arc<Peer>,
        packet: &[u8],
        offload: &Offload,
        segments: &Segments<'_>,
        now: Instant,
    ) {
        match peer.link.way() {
            Way::Udp => self.seal(peer, packet, segments, now),
            Way::Stream => {
                if peer.stream.push(QueuedCapsule::new(packet, offload, segments, now)).is_err() {
                    self.drop(Some(peer), DropReason::QueueFull, segments.count());
                }
            }
            Way::V0 => self.enqueue(peer, segments, now),
            Way::Unknown => self.keep(peer, segments),
        }
    }

    fn seal(&mut self, peer: &Arc<Peer>, packet: &[u8], segments: &Segments<'_>, now: Instant) {
        let largest = peer.link.largest();
        if segments.len_of(0) > largest {
            return self.refuse(peer, packet, largest);
        }
        let session = peer.link.session();
        let (Some(session), Some(endpoint)) = (session.as_ref(), peer.link.endpoint()) else {
            return self.keep(peer, segments);
        };
        let count = segments.count();
        let Some(first) = session.reserve(count as u64) else {
            return self.keep(peer, segments);
        };
        let (checksum, flags) = match session.suite() {
            Suite::Aegis if segments.is_partial() => (L4Checksum::Partial, FLAG_PARTIAL),
            Suite::Aegis | Suite::ChaChaPoly => (L4Checksum::Complete, 0),
        };
        let mut bytes = 0;
        for index in 0..count {
            let len = segments.len_of(index);
            let datagram = self.outgoing.next(endpoint, Session::HEADER_LEN + len + Session::TAG_LEN);
            let written =
                segments.write(index, &mut datagram[Session::HEADER_LEN..Session::HEADER_LEN + len], checksum);
            debug_assert!(written.is_ok(), "the room is as long as the segment");
            session.seal(first + index as u64, flags, datagram);
            bytes += len;
        }
        session.note_sent(now, true);
        self.shared.counters.remote_tx.add_many(count, bytes);
        peer.counters.tx.add_many(count, bytes);
    }

    /// Passes a packet with complete checksums that `from` sent on to `to`. One that does not fit is answered.
    pub(super) fn pass_on(&mut self, from: &Arc<Peer>, to: &Arc<Peer>, packet: &[u8], now: Instant) {
        let largest = to.link.largest();
        if packet.len() > largest && to.link.way() == Way::Udp {
            self.drop(Some(to), DropReason::TooBig, 1);
            if to.link.is_settled()
                && let Some(answer) = too_big(packet, u32::try_from(largest).unwrap_or(u32::MAX))
                && let Ok(segments) = split(&answer, &Offload::default())
            {
                self.send(from, &answer, &Offload::default(), &segments, now);
            }
            return;
        }
        match split(packet, &Offload::default()) {
            Ok(segments) => self.send(to, packet, &Offload::default(), &segments, now),
            Err(_) => self.drop(Some(from), DropReason::Malformed, 1),
        }
    }

    /// Answers a ping of `peer`, or sends one.
    pub(super) fn control(&mut self, peer: &Peer, kind: ControlKind, number: u64, len: usize, now: Instant) {
        let session = peer.link.session();
        let (Some(session), Some(endpoint)) = (session.as_ref(), peer.link.endpoint()) else {
            return;
        };
        let Some(counter) = session.reserve(1) else {
            return;
        };
        let datagram = self.outgoing.next(endpoint, Session::HEADER_LEN + len + Session::TAG_LEN);
        Control { kind, number, len }.write(&mut datagram[Session::HEADER_LEN..Session::HEADER_LEN + len]);
        session.seal(counter, 0, datagram);
        session.note_sent(now, false);
    }

    /// Puts complete packets into the queue of the peer's lane.
    fn enqueue(&self, peer: &Arc<Peer>, segments: &Segments<'_>, now: Instant) {
        for packet in complete(segments) {
            if peer.queue.push(QueuedPacket::new(packet, now, self.shared.clock)).is_err() {
                self.drop(Some(peer), DropReason::QueueFull, 1);
            }
        }
    }

    /// Keeps packets until the owner has found a way to the peer.
    fn keep(&self, peer: &Arc<Peer>, segments: &Segments<'_>) {
        for packet in complete(segments) {
            if peer.link.wait(packet).is_some() {
                self.drop(Some(peer), DropReason::QueueFull, 1);
            }
            self.notices.want(peer);
        }
    }

    /// Tells the sender of a packet that it does not fit.
    fn refuse(&self, peer: &Arc<Peer>, packet: &[u8], largest: usize) {
        self.drop(Some(peer), DropReason::TooBig, 1);
        if !peer.link.is_settled() {
            return;
        }
        if let Some(answer) = too_big(packet, u32::try_from(largest).unwrap_or(u32::MAX)) {
            let _gone = self.device.write(&answer);
        }
    }

    /// Sends what was gathered.
    pub(super) fn flush(&mut self) {
        let Some(socket) = &self.socket else {
            return;
        };
        let (shared, notices) = (&self.shared, &self.notices);
        self.outgoing.flush(socket, |to, len, count, error| {
            if error.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32) {
                notices.send(Notice::TooBig { to, len });
            }
            tracing::debug!(%error, len, count, "datagrams not sent");
            shared.counters.drops.add_many(DropReason::Unsent, count);
        });
    }

    fn drop(&self, peer: Option<&Arc<Peer>>, reason: DropReason, count: usize) {
        self.shared.counters.drops.add_many(reason, count);
        if let Some(peer) = peer {
            peer.counters.drops.add_many(reason, count);
        }
    }
}

/// The segments with complete checksums, each by itself.
pub(crate) fn complete<'a>(segments: &'a Segments<'a>) -> impl Iterator<Item = Vec<u8>> + 'a {
    (0..segments.count()).map(|index| {
        let mut packet = vec![0; segments.len_of(index)];
        let written = segments.write(index, &mut packet, L4Checksum::Complete);
        debug_assert!(written.is_ok(), "the room is as long as the segment");
        packet
    })
}

/// Whether the packet is a host's report of the multicast groups it wants: IGMP, or MLD behind its hop-by-hop header
/// (RFC 3376, section 4; RFC 3810, section 5). They are for the next router, which we are.
fn is_group_report(header: &IpHeader) -> bool {
    header.destination().is_multicast()
        && match header.version() {
            Version::V4 => header.protocol() == protocol::IGMP,
            Version::V6 => header.protocol() == protocol::IPV6_HOP_BY_HOP,
        }
}

/// Flag of a sealed datagram: the TCP or UDP checksum inside is not filled in, as the seal vouches for the packet.
pub(super) const FLAG_PARTIAL: u8 = 1;

/// Longest packet the device hands out: an IPv6 super packet whose payload has the longest length there is.
const MAX_PACKET: usize = 40 + 65_535;
