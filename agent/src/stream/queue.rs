use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tunmesh_packet::{Offload, Segments, split};
use tunmesh_protocol::Capsule;

use crate::data::complete;

/// Packets between the packet threads and the stream to one peer: at most [`CAPACITY`] bytes.
///
/// What does not fit is refused, so that a peer that takes nothing holds nobody up; a sender of TCP slows down.
#[derive(Default)]
pub(crate) struct StreamQueue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    ended: Notify,
}

#[derive(Default)]
struct Waiting {
    capsules: VecDeque<QueuedCapsule>,
    bytes: usize,
    /// Whether a stream is open, or being opened.
    is_carried: bool,
    /// Whether the stream is to be closed as soon as nothing waits.
    is_ending: bool,
}

/// Lasts as long as a stream for the queue does.
pub(super) struct Carried<'a>(&'a StreamQueue);

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        self.0.lock().is_carried = false;
        self.0.ended.notify_one();
    }
}

/// A packet as it goes into a stream.
pub(crate) struct QueuedCapsule {
    /// The capsule.
    pub(super) bytes: Bytes,
    /// Packets on the wire that it stands for, and their bytes.
    pub(super) packets: (usize, usize),
    read_at: Instant,
}

impl QueuedCapsule {
    /// A packet as the device gave it, and what `split` makes of it.
    pub(crate) fn new(packet: &[u8], offload: &Offload, segments: &Segments<'_>, now: Instant) -> Self {
        let capsule = if *offload == (Offload { header_len: offload.header_len, ..Offload::default() }) {
            Capsule::Packet(packet)
        } else {
            Capsule::SuperPacket { header: offload.encode(), packet }
        };
        let mut bytes = Vec::new();
        capsule.encode(&mut bytes);
        Self { bytes: bytes.into(), packets: (segments.count(), segments.total_len()), read_at: now }
    }

    /// A complete packet.
    pub(crate) fn whole(packet: &[u8], now: Instant) -> Self {
        let mut bytes = Vec::new();
        Capsule::Packet(packet).encode(&mut bytes);
        Self { bytes: bytes.into(), packets: (1, packet.len()), read_at: now }
    }

    /// The complete packets, for another way than a stream.
    pub(crate) fn into_packets(self) -> Vec<Vec<u8>> {
        let (packet, offload) = match Capsule::decode(&self.bytes) {
            Ok(Some((Capsule::Packet(packet), _))) => (packet, Ok(Offload::default())),
            Ok(Some((Capsule::SuperPacket { header, packet }, _))) => (packet, Offload::parse(&header)),
            Ok(Some((Capsule::Skipped, _)) | None) | Err(_) => return Vec::new(),
        };
        let Ok(offload) = offload else {
            return Vec::new();
        };
        split(packet, &offload).map(|segments| complete(&segments).collect()).unwrap_or_default()
    }
}

impl StreamQueue {
    /// Puts a packet at the end; gives it back if there is no room.
    pub(crate) fn push(&self, capsule: QueuedCapsule) -> Result<(), QueuedCapsule> {
        let mut waiting = self.lock();
        let cost = cost_of(&capsule);
        if waiting.bytes + cost > CAPACITY {
            return Err(capsule);
        }
        waiting.bytes += cost;
        waiting.capsules.push_back(capsule);
        let first = waiting.capsules.len() == 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Takes the oldest packet.
    pub(crate) fn pop(&self) -> Option<QueuedCapsule> {
        let mut waiting = self.lock();
        let capsule = waiting.capsules.pop_front()?;
        waiting.bytes -= cost_of(&capsule);
        Some(capsule)
    }

    /// Drops what has waited longer than `expiration` and returns how many packets on the wire that were.
    pub(super) fn expire(&self, expiration: Duration) -> usize {
        let mut waiting = self.lock();
        let mut expired = 0;
        while waiting.capsules.front().is_some_and(|oldest| oldest.read_at.elapsed() > expiration) {
            let Some(oldest) = waiting.capsules.pop_front() else { break };
            waiting.bytes -= cost_of(&oldest);
            expired += oldest.packets.0;
        }
        expired
    }

    /// Takes note that a stream is being opened for what waits.
    pub(super) fn carry(&self) -> Carried<'_> {
        self.lock().is_carried = true;
        Carried(self)
    }

    /// Whether the stream is to be closed as soon as nothing waits.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().is_ending
    }

    /// Has what waits sent and the stream closed; for when the node stops.
    pub(crate) fn end(&self) {
        self.lock().is_ending = true;
        self.filled.notify_one();
    }

    /// Completes once nothing waits and no stream is open, so the other end has all that was sent, unless the stream broke.
    pub(crate) async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_over() {
                return;
            }
            ended.await;
        }
    }

    fn is_over(&self) -> bool {
        let waiting = self.lock();
        waiting.capsules.is_empty() && !waiting.is_carried
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().capsules.is_empty()
    }

    /// Packets waiting, as they are on the wire.
    pub(crate) fn len(&self) -> usize {
        self.lock().capsules.iter().map(|capsule| capsule.packets.0).sum()
    }

    /// Completes once there is something to take; may complete early.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cost_of(capsule: &QueuedCapsule) -> usize {
    capsule.bytes.len() + OVERHEAD
}

/// Room of one queue, in bytes: eight super packets, 1 ms at 4 Gbit/s. More would only wait longer.
const CAPACITY: usize = 512 << 10;

/// What a queued packet takes beside its bytes.
const OVERHEAD: usize = size_of::<QueuedCapsule>();

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use tunmesh_packet::{ChecksumField, SegmentKind, Segmentation};

    use super::*;

    /// An IPv4 packet of UDP with `len` bytes of payload and a checksum that is complete: it has none.
    fn packet(len: usize) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.resize(28 + len, 0);
        let total = u16::try_from(packet.len()).unwrap();
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[24..26].copy_from_slice(&(total - 20).to_be_bytes());
        packet
    }

    fn queued(packet: &[u8], offload: &Offload) -> QueuedCapsule {
        QueuedCapsule::new(packet, offload, &split(packet, offload).unwrap(), Instant::now())
    }

    #[test]
    fn what_does_not_fit_is_given_back_until_something_is_taken() {
        let queue = StreamQueue::default();
        let packet = packet(60_000);
        let fill = || {
            std::iter::repeat_with(|| queue.push(queued(&packet, &Offload::default())))
                .take_while(Result::is_ok)
                .count()
        };

        assert_eq!(fill(), CAPACITY / (60_000 + 28 + 6 + OVERHEAD));
        assert_eq!(fill(), 0);

        assert!(queue.pop().is_some());

        assert_eq!(fill(), 1);
    }

    #[test]
    fn a_queue_has_ended_when_nothing_waits_and_no_stream_is_open() {
        let queue = StreamQueue::default();
        let mut ended = std::pin::pin!(queue.ended());
        let mut has_ended = || ended.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();

        assert!(queue.push(QueuedCapsule::whole(&packet(1), Instant::now())).is_ok());
        assert!(!has_ended(), "a packet waits");
        let carried = queue.carry();
        queue.end();
        assert!(queue.is_ending() && queue.pop().is_some());
        assert!(!has_ended(), "the packet may be under way");
        drop(carried);
        assert!(has_ended());
    }

    #[test]
    fn packets_that_waited_too_long_are_dropped_and_counted() {
        let queue = StreamQueue::default();
        let old = Instant::now().checked_sub(Duration::from_secs(9)).unwrap();
        assert!(queue.push(QueuedCapsule::whole(&packet(1), old)).is_ok());
        assert!(queue.push(QueuedCapsule::whole(&packet(2), Instant::now())).is_ok());

        assert_eq!((queue.expire(Duration::from_secs(5)), queue.len()), (1, 1));
    }

    #[test]
    fn a_super_packet_goes_whole_and_comes_apart_for_another_way() {
        let packet = packet(3000);
        let segmentation = Segmentation { kind: SegmentKind::Udp, size: 1000, is_ecn: false };
        let checksum = ChecksumField { start: 20, offset: 6 };
        let offload = Offload { checksum: Some(checksum), segmentation: Some(segmentation), ..Offload::default() };

        let capsule = queued(&packet, &offload);

        assert_eq!(capsule.packets, (3, 3 * 1028));
        let queue = StreamQueue::default();
        assert!(queue.push(queued(&packet, &offload)).is_ok());
        assert_eq!(queue.len(), 3, "packets on the wire");
        assert_eq!(
            Capsule::decode(&capsule.bytes),
            Ok(Some((Capsule::SuperPacket { header: offload.encode(), packet: &packet }, capsule.bytes.len())))
        );
        let lens: Vec<_> = capsule.into_packets().iter().map(Vec::len).collect();
        assert_eq!(lens, [1028; 3]);
    }

    #[test]
    fn a_complete_packet_is_a_plain_datagram() {
        let packet = packet(3);
        let hinted = Offload { header_len: 28, ..Offload::default() };

        let capsule = queued(&packet, &hinted);

        assert_eq!(Capsule::decode(&capsule.bytes), Ok(Some((Capsule::Packet(&packet), capsule.bytes.len()))));
        assert_eq!(capsule.into_packets(), [packet]);
    }
}
