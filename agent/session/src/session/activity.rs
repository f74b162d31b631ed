use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When messages went to and came from a peer, over all its sessions; written by packet threads, read by the endpoint.
///
/// Times are milliseconds since `epoch` plus one, so that zero is never. They are written only when they change: threads
/// that use coarse times hardly ever take the cache line from each other. A lost race between two writers shifts a timer
/// by the time of a burst and does no harm.
#[derive(Debug)]
pub(crate) struct Activity {
    epoch: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    /// When data was first sent since the last message received.
    unanswered: AtomicU64,
    /// When data was first received since the last message sent.
    unacknowledged: AtomicU64,
}

impl Activity {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            sent: AtomicU64::new(NEVER),
            received: AtomicU64::new(NEVER),
            unanswered: AtomicU64::new(NEVER),
            unacknowledged: AtomicU64::new(NEVER),
        }
    }

    pub(crate) fn note_sent(&self, now: Instant, data: bool) {
        let now = self.millis(now);
        set(&self.sent, now);
        set(&self.unacknowledged, NEVER);
        if data && self.unanswered.load(Ordering::Relaxed) == NEVER {
            self.unanswered.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn note_received(&self, now: Instant, data: bool) {
        let now = self.millis(now);
        set(&self.received, now);
        set(&self.unanswered, NEVER);
        if data && self.unacknowledged.load(Ordering::Relaxed) == NEVER {
            self.unacknowledged.store(now, Ordering::Relaxed);
        }
    }

    /// Counts silence anew from the next data sent.
    pub(crate) fn forgive(&self) {
        set(&self.unanswered, NEVER);
    }

    pub(crate) fn sent(&self) -> Option<Instant> {
        self.instant(&self.sent)
    }

    pub(crate) fn received(&self) -> Option<Instant> {
        self.instant(&self.received)
    }

    pub(crate) fn unanswered(&self) -> Option<Instant> {
        self.instant(&self.unanswered)
    }

    pub(crate) fn unacknowledged(&self) -> Option<Instant> {
        self.instant(&self.unacknowledged)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).map_or(u64::MAX, |millis| millis + 1)
    }

    fn instant(&self, at: &AtomicU64) -> Option<Instant> {
        let millis = at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.epoch + Duration::from_millis(millis))
    }
}

fn set(at: &AtomicU64, value: u64) {
    if at.load(Ordering::Relaxed) != value {
        at.store(value, Ordering::Relaxed);
    }
}

const NEVER: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_first_data_and_ends_with_any_message_the_other_way() {
        let epoch = Instant::now();
        let at = |millis| epoch + Duration::from_millis(millis);
        let activity = Activity::new(epoch);

        activity.note_sent(at(0), true);
        activity.note_sent(at(5), true);
        assert_eq!((activity.sent(), activity.unanswered()), (Some(at(5)), Some(at(0))));
        activity.note_received(at(7), false);
        assert_eq!((activity.unanswered(), activity.unacknowledged()), (None, None));
        activity.note_received(at(8), true);
        activity.note_received(at(9), true);
        assert_eq!(activity.unacknowledged(), Some(at(8)));
        activity.note_sent(at(10), false);
        assert_eq!((activity.unanswered(), activity.unacknowledged()), (None, None));
    }
}
