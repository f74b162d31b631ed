use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::member_key::MemberKey;

/// What is due when. A timer that no longer matters stays, and whoever it is for finds nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Agenda(BinaryHeap<Reverse<(Instant, Timer)>>);

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Pass news on.
    Gossip,
    /// Choose somebody and probe it.
    Probe,
    /// The probe with this nonce is not answered: ask others.
    ProbeLate(u64),
    /// The probe with this nonce failed.
    ProbeOver(u64),
    /// Send more of what others lack.
    Push,
    /// Call somebody who is down.
    Rejoin,
    /// The ping with this nonce, made for another member, is not answered.
    RelayOver(u64),
    /// A suspect has not refuted.
    Suspicion(MemberKey),
    /// Forget what is too old.
    Sweep,
    /// Compare with somebody.
    Sync,
}

impl Agenda {
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.0.push(Reverse((at, timer)));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// When the first timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the first timer if it is due by `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, timer))| timer)
    }
}
