//! One direction of a link: what becomes of each packet, and when. No clock, no I/O.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use serde::Serialize;
use tunmesh_packet::protocol;

use crate::{Block, Impairments};

/// One direction of a link.
///
/// - [`LinkQueue::handle_frame`] takes what one end sent;
/// - [`LinkQueue::poll_frame`] gives what the other end is to receive by now;
/// - [`LinkQueue::poll_timeout`] says when to ask again. It changes with every call of the other two.
///
/// Every `now` must be at least the one before. The same seed, frames and times give the same outcome.
#[derive(Debug)]
pub struct LinkQueue {
    header_len: usize,
    impairments: Impairments,
    rng: fastrand::Rng,
    waiting: BinaryHeap<Waiting>,
    waiting_bytes: usize,
    /// When the last packet in order arrives; the next one does not before.
    last_due: Option<Instant>,
    /// When the rate limit lets the next packet begin.
    free_at: Option<Instant>,
    sequence: u64,
    counters: Counters,
}

/// What became of packets. A super packet counts as one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Counters {
    /// Sent by one end.
    pub received: u64,
    /// Bytes of these, without the device's header.
    pub received_bytes: u64,
    /// Given to the other end, duplicates included.
    pub forwarded: u64,
    /// Dropped by a block rule.
    pub blocked: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Packets of which a second copy was made.
    pub duplicated: u64,
    /// Held back so that later ones overtake them.
    pub reordered: u64,
    /// Dropped because the queue of the rate limit, or the memory of the emulator, was full.
    pub overflowed: u64,
    /// Refused by the kernel at the other end.
    pub refused: u64,
}

/// What to do with a frame now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Fate {
    /// Give it to the other end; it has been counted as forwarded.
    Forward,
    /// Nothing: it is lost, or a copy of it waits here.
    Kept,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    sequence: u64,
    frame: Box<[u8]>,
}

impl LinkQueue {
    /// A direction without impairments. Frames are packets after `header_len` bytes of the device's own.
    pub fn new(header_len: usize, seed: u64) -> Self {
        Self {
            header_len,
            impairments: Impairments::default(),
            rng: fastrand::Rng::with_seed(seed),
            waiting: BinaryHeap::new(),
            waiting_bytes: 0,
            last_due: None,
            free_at: None,
            sequence: 0,
            counters: Counters::default(),
        }
    }

    /// Treats later packets so; those that wait keep their time.
    pub fn set(&mut self, impairments: Impairments) {
        self.impairments = impairments;
    }

    /// What became of packets so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Decides about a frame that one end sent.
    pub fn handle_frame(&mut self, frame: &[u8], now: Instant) -> Fate {
        let packet = frame.get(self.header_len..).unwrap_or_default();
        self.counters.received += 1;
        self.counters.received_bytes += packet.len() as u64;
        if is_blocked(self.impairments.block, packet) {
            self.counters.blocked += 1;
            return Fate::Kept;
        }
        if self.impairments.loss.draw(&mut self.rng) {
            self.counters.lost += 1;
            return Fate::Kept;
        }
        let is_twice = self.impairments.duplicate.draw(&mut self.rng);
        if is_twice {
            self.counters.duplicated += 1;
            self.keep(frame, packet.len(), now);
        }
        let Some(due) = self.schedule(frame, packet.len(), now) else { return Fate::Kept };
        if due <= now && self.waiting.peek().is_none_or(|next| next.due > due) {
            self.counters.forwarded += 1;
            return Fate::Forward;
        }
        self.push(frame, due);
        Fate::Kept
    }

    /// The next frame due for the other end, in order of time.
    pub fn poll_frame(&mut self, now: Instant) -> Option<Box<[u8]>> {
        if self.waiting.peek()?.due > now {
            return None;
        }
        let Waiting { frame, .. } = self.waiting.pop()?;
        self.waiting_bytes -= frame.len();
        self.counters.forwarded += 1;
        Some(frame)
    }

    /// When the next frame is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        Some(self.waiting.peek()?.due)
    }

    /// Takes note that the kernel at the other end refused a frame that was forwarded.
    pub fn handle_refusal(&mut self) {
        self.counters.forwarded = self.counters.forwarded.saturating_sub(1);
        self.counters.refused += 1;
    }

    fn keep(&mut self, frame: &[u8], bytes: usize, now: Instant) {
        if let Some(due) = self.schedule(frame, bytes, now) {
            self.push(frame, due);
        }
    }

    /// When the frame arrives, unless there is no room for it.
    fn schedule(&mut self, frame: &[u8], bytes: usize, now: Instant) -> Option<Instant> {
        let has_room = self.waiting_bytes + frame.len() <= MAX_WAITING_BYTES;
        let left_at = if has_room { self.leave(bytes, now) } else { None };
        if left_at.is_none() {
            self.counters.overflowed += 1;
        }
        Some(self.arrival(left_at?))
    }

    /// When the packet has passed the rate limit, unless its queue is too long.
    fn leave(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let Some(rate) = self.impairments.rate else { return Some(now) };
        let starts_at = self.free_at.map_or(now, |free_at| free_at.max(now));
        if starts_at - now > self.impairments.queue {
            return None;
        }
        let left_at = starts_at + Duration::from_nanos(bytes as u64 * 8 * 1_000_000_000 / rate);
        self.free_at = Some(left_at);
        Some(left_at)
    }

    fn arrival(&mut self, sent_at: Instant) -> Instant {
        let Impairments { delay, jitter, reorder, reorder_delay, .. } = self.impairments;
        let spread = if jitter.is_zero() { Duration::ZERO } else { jitter.mul_f64(2.0 * self.rng.f64()) };
        let due = sent_at + (delay + spread).saturating_sub(jitter);
        let in_order = self.last_due.map_or(due, |last| last.max(due));
        if reorder.draw(&mut self.rng) {
            self.counters.reordered += 1;
            return in_order + reorder_delay;
        }
        self.last_due = Some(in_order);
        in_order
    }

    fn push(&mut self, frame: &[u8], due: Instant) {
        self.sequence += 1;
        self.waiting_bytes += frame.len();
        self.waiting.push(Waiting { due, sequence: self.sequence, frame: frame.into() });
    }
}

fn is_blocked(block: Block, packet: &[u8]) -> bool {
    match block {
        Block::All => true,
        Block::None => false,
        Block::Udp => tunmesh_packet::parse(packet).is_ok_and(|header| header.protocol() == protocol::UDP),
    }
}

impl Ord for Waiting {
    /// The heap gives the greatest first, so the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.sequence).cmp(&(self.due, self.sequence))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Waiting {}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

/// Bytes that may be under way in one direction: 10 Gbit/s for 100 ms.
const MAX_WAITING_BYTES: usize = 128 << 20;

#[cfg(test)]
mod tests;
