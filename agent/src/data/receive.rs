use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use tunmesh_core::{Control, ControlKind};
use tunmesh_mesh::{DropReason, Inbound as Verdict};
use tunmesh_packet::{Coalescer, complete_checksum};
use tunmesh_session::{MessageType, OpenError, Opened, message_type, receiver_index};

use super::arena::{Arena, Received};
use super::link::Inbound;
use super::notice::Notice;
use super::socket::Socket;
use super::transmit::{FLAG_PARTIAL, Transmitter};
use crate::shared::{Forwarding, Sessions};

/// The half of a packet thread that receives: from the socket to the device.
pub(super) struct Receiver {
    socket: Arc<Socket>,
    queue: usize,
    arena: Arena,
    coalescer: Coalescer,
}

/// What the packets of one run are judged by.
struct Judge<'a> {
    forwarding: &'a Forwarding,
    inbound: &'a Inbound,
    /// Source and destination that were found right last.
    passed: Option<(IpAddr, IpAddr)>,
}

impl Receiver {
    pub(super) fn new(socket: Arc<Socket>, queue: usize, joins_udp: bool) -> Self {
        let arena = Arena::new(socket.max_joined());
        Self { socket, queue, arena, coalescer: Coalescer::new(joins_udp) }
    }

    /// Receives and delivers what waits, up to the room of the arena; says whether anything came.
    pub(super) fn turn(
        &mut self,
        transmitter: &mut Transmitter,
        forwarding: &Forwarding,
        sessions: &Sessions,
        now: Instant,
    ) -> io::Result<bool> {
        let count = match self.arena.fill(&self.socket) {
            Ok(count) => count,
            Err(error) if is_transient(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        for index in 0..count {
            let run = self.arena.received(index);
            self.run(transmitter, forwarding, sessions, &run, now);
        }
        self.deliver(transmitter);
        transmitter.flush();
        Ok(count > 0)
    }

    fn run(
        &mut self,
        transmitter: &mut Transmitter,
        forwarding: &Forwarding,
        sessions: &Sessions,
        run: &Received,
        now: Instant,
    ) {
        let mut rest = run.bytes.clone();
        while rest.start < rest.end {
            let datagram = next_of(&mut rest, run.stride);
            let bytes = &self.arena.bytes[datagram.clone()];
            if message_type(bytes) != Some(MessageType::Transport) {
                if let Err(reason) = transmitter.notices.send_datagram(run.from, bytes) {
                    transmitter.shared.counters.drops.add(reason);
                }
                continue;
            }
            match receiver_index(bytes).and_then(|index| sessions.get(&index)) {
                Some(inbound) => {
                    rest.start = datagram.start;
                    let judge = Judge { forwarding, inbound, passed: None };
                    self.session(transmitter, judge, run, &mut rest, now);
                }
                None => transmitter.shared.counters.drops.add(DropReason::NoSession),
            }
        }
    }

    /// Opens datagrams from the start of `rest` for as long as they belong to one session.
    fn session(
        &mut self,
        transmitter: &mut Transmitter,
        mut judge: Judge<'_>,
        run: &Received,
        rest: &mut Range<usize>,
        now: Instant,
    ) {
        let session = &judge.inbound.session;
        let (mut packets, mut bytes, mut opened_any) = (0, 0, false);
        let mut opening = session.opening();
        while rest.start < rest.end {
            let mut after = rest.clone();
            let datagram = next_of(&mut after, run.stride);
            if receiver_index(&self.arena.bytes[datagram.clone()]) != Some(session.local_index()) {
                break;
            }
            *rest = after;
            match opening.open(&mut self.arena.bytes[datagram.clone()]) {
                Ok(opened) => {
                    opened_any = true;
                    if opened.confirms {
                        transmitter.notices.send(Notice::Confirmed { local_index: session.local_index() });
                    }
                    let len = opened.plaintext.len();
                    if len > 0 {
                        packets += 1;
                        bytes += len;
                        self.opened(transmitter, &mut judge, datagram.start, &opened, now);
                    }
                }
                Err(error) => drop_from(transmitter, judge.inbound, refused(error)),
            }
        }
        drop(opening);
        if opened_any {
            session.note_received(now, packets > 0);
            judge.inbound.peer.link.set_endpoint(run.from);
            transmitter.shared.counters.remote_rx.add_many(packets, bytes);
            judge.inbound.peer.counters.rx.add_many(packets, bytes);
        }
    }

    /// Takes one opened message: a packet for the device, one to pass on, or a word between the two ends.
    fn opened(
        &mut self,
        transmitter: &mut Transmitter,
        judge: &mut Judge<'_>,
        start: usize,
        opened: &Opened,
        now: Instant,
    ) {
        let plaintext = start + opened.plaintext.start..start + opened.plaintext.end;
        let peer = &judge.inbound.peer;
        let Ok(header) = tunmesh_packet::parse(&self.arena.bytes[plaintext.clone()]) else {
            return match Control::parse(&self.arena.bytes[plaintext]) {
                Some(Control { kind: ControlKind::Ping, number, len }) => {
                    transmitter.control(peer, ControlKind::Pong, number, len, now);
                }
                Some(Control { kind: ControlKind::Pong, number, len }) => {
                    transmitter.notices.send(Notice::Pong { peer: peer.id.clone(), number, len, at: now });
                }
                None => drop_from(transmitter, judge.inbound, DropReason::Malformed),
            };
        };
        let packet = plaintext.start..plaintext.start + header.total_len();
        let partial = opened.flags & FLAG_PARTIAL != 0;
        let ends = (header.source(), header.destination());
        if judge.passed != Some(ends) {
            match judge.forwarding.routes.inbound(&peer.id, ends.0, ends.1) {
                Ok(Verdict::Deliver) => judge.passed = Some(ends),
                Ok(Verdict::Forward(to)) => {
                    let target = judge.forwarding.peers.get(to);
                    let bytes = &mut self.arena.bytes[packet];
                    if partial && complete_checksum(bytes).is_err() {
                        return drop_from(transmitter, judge.inbound, DropReason::Malformed);
                    }
                    let Some(target) = target else {
                        return drop_from(transmitter, judge.inbound, DropReason::NoRoute);
                    };
                    return transmitter.pass_on(peer, target, bytes, now);
                }
                Err(reason) => return drop_from(transmitter, judge.inbound, reason),
            }
        }
        if transmitter.device.offloads().header {
            self.coalescer.push(&self.arena.bytes, packet, partial);
        } else {
            let bytes = &mut self.arena.bytes[packet];
            let written = if partial && complete_checksum(bytes).is_err() {
                Err(io::ErrorKind::InvalidData.into())
            } else {
                transmitter.device.write(bytes)
            };
            match written {
                Ok(()) => transmitter.shared.counters.tun_tx.add(bytes.len()),
                Err(_) => drop_from(transmitter, judge.inbound, DropReason::Exception),
            }
        }
    }

    /// Writes what was gathered to the device.
    fn deliver(&mut self, transmitter: &Transmitter) {
        let (arena, queue) = (&self.arena.bytes, transmitter.device.queue(self.queue));
        self.coalescer.drain(|frame| {
            let mut parts = Vec::with_capacity(1 + frame.pieces.len());
            parts.push(IoSlice::new(frame.head));
            parts.extend(frame.pieces.iter().map(|piece| IoSlice::new(&arena[piece.clone()])));
            let (packets, counters) = (frame.pieces.len(), &transmitter.shared.counters);
            match queue.write_vectored(&parts) {
                Ok(_) => counters.tun_tx.add_many(packets, frame.total_len()),
                Err(error) => {
                    tracing::debug!(%error, packets, "the device refused packets");
                    counters.drops.add_many(DropReason::Exception, packets);
                }
            }
        });
    }
}

/// Takes the next datagram of `stride` bytes, or what is left, off the front of a run.
fn next_of(rest: &mut Range<usize>, stride: usize) -> Range<usize> {
    let datagram = rest.start..rest.end.min(rest.start + stride);
    rest.start = datagram.end;
    datagram
}

fn drop_from(transmitter: &Transmitter, inbound: &Inbound, reason: DropReason) {
    tracing::trace!(peer = %inbound.peer.id, reason = reason.as_str(), "datagram from a peer dropped");
    transmitter.shared.counters.drops.add(reason);
    inbound.peer.counters.drops.add(reason);
}

fn refused(error: OpenError) -> DropReason {
    match error {
        OpenError::Expired | OpenError::WrongIndex => DropReason::NoSession,
        OpenError::Forged | OpenError::TooShort => DropReason::Forged,
        OpenError::Replayed => DropReason::Replayed,
    }
}

/// Nothing waits, or an earlier datagram of ours was answered by an ICMP error.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}
