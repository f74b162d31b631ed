use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tunmesh_protocol::Stamp;

/// Packets between the TUN reader and one peer's lane: at most [`CAPACITY`].
///
/// A full queue holds the reader up, so that the kernel's own queue fills and applications slow down, instead of
/// dropping. A peer that takes nothing for [`PATIENCE`] does not hold the others up any longer: packets to it are
/// refused until it moves again.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<VecDeque<QueuedPacket>>,
    filled: Notify,
    room: Notify,
    /// Batches taken so far; tells a slow lane from a stalled one.
    taken: AtomicU64,
    /// Value of `taken` at which the reader lost its patience, plus one; 0 while it has some.
    stalled_at: AtomicU64,
}

/// A packet with the time it was read from the device.
pub(crate) struct QueuedPacket {
    pub(crate) data: Bytes,
    pub(crate) ethertype: u16,
    pub(crate) read_at: Instant,
    pub(crate) stamp: Stamp,
}

impl Queue {
    /// Puts a packet at the end, waiting for room; gives it back if there is none in time.
    pub(crate) async fn push(&self, packet: QueuedPacket) -> Result<(), QueuedPacket> {
        let Err(mut packet) = self.try_push(packet) else {
            return Ok(());
        };
        let taken = self.taken.load(Relaxed);
        if self.stalled_at.load(Relaxed) == taken + 1 {
            return Err(packet);
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let room = self.room.notified();
            packet = match self.try_push(packet) {
                Ok(()) => return Ok(()),
                Err(packet) => packet,
            };
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                self.stalled_at.store(self.taken.load(Relaxed) + 1, Relaxed);
                return Err(packet);
            }
        }
    }

    fn try_push(&self, packet: QueuedPacket) -> Result<(), QueuedPacket> {
        let mut waiting = self.lock();
        if waiting.len() >= CAPACITY {
            return Err(packet);
        }
        waiting.push_back(packet);
        let first = waiting.len() == 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves up to `max` packets to the end of `batch` and makes room.
    pub(crate) fn take(&self, max: usize, batch: &mut Vec<QueuedPacket>) {
        let mut waiting = self.lock();
        let count = max.min(waiting.len());
        batch.extend(waiting.drain(..count));
        drop(waiting);
        if count > 0 {
            self.taken.fetch_add(1, Relaxed);
            self.room.notify_one();
        }
    }

    /// Drops what has waited longer than `expiration` and returns how many packets that were.
    pub(crate) fn expire(&self, expiration: Duration) -> usize {
        let mut waiting = self.lock();
        let before = waiting.len();
        waiting.retain(|packet| packet.read_at.elapsed() <= expiration);
        let expired = before - waiting.len();
        drop(waiting);
        if expired > 0 {
            self.room.notify_one();
        }
        expired
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
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
        self.lock().len()
    }

    /// Completes once there is something to take, or [`Self::wake`] was called; may complete early.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Makes the lane look again, because its session or its peer changed.
    pub(crate) fn wake(&self) {
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<QueuedPacket>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Four batches of the default size: 7 ms at 400 Mbit/s of 1,500-byte packets.
const CAPACITY: usize = 256;

/// Time the reader waits for a full queue; half of the 100 ms after which packets expire anyway.
const PATIENCE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(tag: u8) -> QueuedPacket {
        QueuedPacket {
            data: Bytes::copy_from_slice(&[tag]),
            ethertype: 0x0800,
            read_at: Instant::now(),
            stamp: Stamp::at(tunmesh_protocol::UnixTime::new(Duration::ZERO)),
        }
    }

    async fn full() -> Queue {
        let queue = Queue::default();
        for _ in 0..CAPACITY {
            assert!(queue.push(packet(0)).await.is_ok());
        }
        queue
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_holds_the_reader_until_the_lane_takes() {
        let queue = full().await;
        let mut batch = Vec::new();

        let (pushed, ()) = tokio::join!(queue.push(packet(1)), async { queue.take(64, &mut batch) });

        assert!(pushed.is_ok());
        assert_eq!(batch.len(), 64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_lane_costs_the_reader_its_patience_once() {
        let queue = full().await;
        let start = tokio::time::Instant::now();

        assert!(queue.push(packet(1)).await.is_err());
        assert!(queue.push(packet(2)).await.is_err());

        assert_eq!(start.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_moves_again_is_waited_for_again() {
        let queue = full().await;
        assert!(queue.push(packet(1)).await.is_err());

        queue.take(1, &mut Vec::new());

        assert!(queue.push(packet(2)).await.is_ok());
    }
}
