use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tunmesh_protocol::NodeId;

use crate::place::Place;

/// What is due when: at most one time per [`Timer`], ordered, all operations logarithmic.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    due: BTreeMap<Timer, Instant>,
    order: BTreeSet<(Instant, Timer)>,
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Look at the URLs of a group.
    Group(String),
    /// Call a place, give up a call that is never answered, or forget the place.
    Meet(Place),
    /// Register to a member, or give up a registration that is never answered.
    Register(NodeId),
    /// Open or replace a session, or give up an attempt that is never answered.
    Session(NodeId),
    /// Remove a silent member.
    Stale(NodeId),
}

impl Agenda {
    /// Sets `timer` to go off at `at` instead of when it was due before.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(before) = self.due.insert(timer.clone(), at) {
            self.order.remove(&(before, timer.clone()));
        }
        self.order.insert((at, timer));
    }

    /// Sets `timer` to go off at `at` unless it is due before.
    pub(crate) fn set_earlier(&mut self, timer: Timer, at: Instant) {
        if self.due(&timer).is_none_or(|due| at < due) {
            self.set(timer, at);
        }
    }

    pub(crate) fn clear(&mut self, timer: &Timer) {
        if let Some(at) = self.due.remove(timer) {
            self.order.remove(&(at, timer.clone()));
        }
    }

    pub(crate) fn due(&self, timer: &Timer) -> Option<Instant> {
        self.due.get(timer).copied()
    }

    /// When the first timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the first timer if it is due by `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.due.remove(&timer);
        Some(timer)
    }
}

/// `wait` after `now`, and in ten years at the latest, so that no configured duration overflows the clock.
pub(crate) fn later(now: Instant, wait: Duration) -> Instant {
    now + wait.min(Duration::from_secs(10 * 365 * 24 * 60 * 60))
}

/// Wait after so many `failures` in a row (at least one): 1 s, doubled for each further one, at most `longest`.
pub(crate) fn backoff(failures: u32, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    Duration::from_secs(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(name: &str) -> Timer {
        Timer::Group(name.into())
    }

    #[test]
    fn timers_go_off_in_order_and_once() {
        let start = Instant::now();
        let mut agenda = Agenda::default();
        agenda.set(timer("b"), start + Duration::from_secs(2));
        agenda.set(timer("a"), start + Duration::from_secs(5));
        agenda.set(timer("a"), start + Duration::from_secs(1));
        agenda.set_earlier(timer("b"), start + Duration::from_secs(3));
        agenda.set(timer("c"), start);
        agenda.clear(&timer("c"));

        assert_eq!(agenda.next(), Some(start + Duration::from_secs(1)));
        assert_eq!(agenda.pop_due(start), None);
        let later = start + Duration::from_secs(9);
        assert_eq!([(); 3].map(|()| agenda.pop_due(later)), [Some(timer("a")), Some(timer("b")), None]);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits = [1, 2, 3, 4, 5, 99].map(|failures| backoff(failures, Duration::from_secs(10)).as_secs());
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn an_endless_wait_does_not_overflow() {
        assert!(later(Instant::now(), Duration::MAX) > Instant::now());
    }
}
