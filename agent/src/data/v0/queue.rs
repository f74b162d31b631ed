use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tunmesh_packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use tunmesh_protocol::Stamp;

use crate::clock::Clock;

/// Packets between the packet threads and one peer's lane: at most [`CAPACITY`] of them, and [`CAPACITY_BYTES`] together.
///
/// What does not fit is refused, so that a peer that takes nothing holds nobody up; a sender of TCP slows down.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    room: Notify,
}

#[derive(Default)]
struct Waiting {
    packets: VecDeque<QueuedPacket>,
    bytes: usize,
}

/// A packet with the time it was read from the device.
pub(crate) struct QueuedPacket {
    pub(crate) data: Bytes,
    pub(crate) ethertype: u16,
    pub(crate) read_at: Instant,
    pub(crate) stamp: Stamp,
}

impl QueuedPacket {
    /// A complete IP packet, read `now`.
    pub(crate) fn new(packet: Vec<u8>, now: Instant, clock: Clock) -> Self {
        let ethertype =
            if packet.first().is_some_and(|first| first >> 4 == 6) { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
        Self { data: packet.into(), ethertype, read_at: now, stamp: Stamp::at(clock.wall()) }
    }
}

impl Queue {
    /// Puts a packet at the end; gives it back if there is no room.
    pub(crate) fn push(&self, packet: QueuedPacket) -> Result<(), QueuedPacket> {
        let mut waiting = self.lock();
        if waiting.packets.len() >= CAPACITY || waiting.bytes + packet.data.len() > CAPACITY_BYTES {
            return Err(packet);
        }
        waiting.bytes += packet.data.len();
        waiting.packets.push_back(packet);
        let first = waiting.packets.len() == 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves up to `max` packets to the end of `batch` and makes room.
    pub(crate) fn take(&self, max: usize, batch: &mut Vec<QueuedPacket>) {
        let mut waiting = self.lock();
        let Waiting { packets, bytes } = &mut *waiting;
        let count = max.min(packets.len());
        batch.extend(packets.drain(..count).inspect(|packet| *bytes -= packet.data.len()));
        drop(waiting);
        if count > 0 {
            self.room.notify_one();
        }
    }

    /// Drops what has waited longer than `expiration` and returns how many packets that were.
    pub(crate) fn expire(&self, expiration: Duration) -> usize {
        let mut waiting = self.lock();
        let Waiting { packets, bytes } = &mut *waiting;
        let before = packets.len();
        packets.retain(|packet| {
            let is_fresh = packet.read_at.elapsed() <= expiration;
            *bytes -= if is_fresh { 0 } else { packet.data.len() };
            is_fresh
        });
        let expired = before - packets.len();
        drop(waiting);
        if expired > 0 {
            self.room.notify_one();
        }
        expired
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().packets.is_empty()
    }

    /// Completes once nothing waits; for when nobody pushes any more.
    pub(crate) async fn emptied(&self) {
        loop {
            let room = self.room.notified();
            if self.is_empty() {
                return;
            }
            room.await;
        }
    }

    /// Packets waiting.
    pub(crate) fn len(&self) -> usize {
        self.lock().packets.len()
    }

    /// Completes once there is something to take, or [`Self::wake`] was called; may complete early.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Makes the lane look again, because its session or its peer changed.
    pub(crate) fn wake(&self) {
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Eight batches of the default size: 14 ms at 400 Mbit/s of 1,400-byte packets.
const CAPACITY: usize = 512;

/// The same in bytes, for larger packets; one of the largest always fits an empty queue.
const CAPACITY_BYTES: usize = 768 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> QueuedPacket {
        QueuedPacket {
            data: Bytes::from_static(&[0]),
            ethertype: 0x0800,
            read_at: Instant::now(),
            stamp: Stamp::at(tunmesh_protocol::UnixTime::new(Duration::ZERO)),
        }
    }

    #[test]
    fn what_does_not_fit_is_given_back_until_something_is_taken() {
        let queue = Queue::default();
        for _ in 0..CAPACITY {
            assert!(queue.push(packet()).is_ok());
        }
        assert!(queue.push(packet()).is_err());

        queue.take(1, &mut Vec::new());

        assert!(queue.push(packet()).is_ok());
        assert!(queue.push(packet()).is_err());
    }

    #[test]
    fn large_packets_count_by_their_bytes() {
        let queue = Queue::default();
        let large = || QueuedPacket { data: vec![0; 65_535].into(), ..packet() };
        let fill = || std::iter::repeat_with(|| queue.push(large())).take_while(Result::is_ok).count();

        assert_eq!((fill(), fill()), (CAPACITY_BYTES / 65_535, 0));
        queue.take(3, &mut Vec::new());
        assert_eq!(fill(), 3);
        assert_eq!(queue.expire(Duration::ZERO), CAPACITY_BYTES / 65_535);
        assert_eq!(fill(), CAPACITY_BYTES / 65_535);
    }

    #[test]
    fn packets_that_waited_too_long_are_dropped_and_counted() {
        let queue = Queue::default();
        let old = QueuedPacket { read_at: Instant::now().checked_sub(Duration::from_secs(9)).unwrap(), ..packet() };
        assert!(queue.push(old).is_ok() && queue.push(packet()).is_ok());

        assert_eq!((queue.expire(Duration::from_secs(5)), queue.len()), (1, 1));
    }
}
