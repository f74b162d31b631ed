use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::agenda::Timer;
use crate::event::Event;
use crate::member_key::MemberKey;
use crate::news::Topic;
use crate::settings::Now;
use crate::table::State;

use super::Membership;

impl Membership {
    pub(super) fn take_suspicion(
        &mut self,
        of: MemberKey,
        incarnation: u64,
        by: MemberKey,
        source: SocketAddr,
        now: Now,
    ) {
        if of == self.key {
            self.refute(incarnation, source, now);
        } else if self.table.get(of).is_some_and(|member| member.record.incarnation == incarnation) {
            self.suspect(of, by, now);
        }
    }

    pub(super) fn take_death(&mut self, of: MemberKey, incarnation: u64, source: SocketAddr, now: Now) {
        if of == self.key {
            self.refute(incarnation, source, now);
        } else if self.table.get(of).is_some_and(|member| member.record.incarnation == incarnation) {
            self.bury(of, now);
        }
    }

    /// Suspects a member, on the word of `by`, unless it is down already.
    ///
    /// The first three who confirm shorten its time to refute and are passed on (Lifeguard, section IV.B).
    pub(super) fn suspect(&mut self, key: MemberKey, by: MemberKey, now: Now) {
        let Some(member) = self.table.get(key) else {
            return;
        };
        let state = match &member.state {
            State::Alive => State::Suspect { since: now.instant, by: vec![by] },
            State::Suspect { since, by: before } if before.len() <= CONFIRMATIONS && !before.contains(&by) => {
                State::Suspect { since: *since, by: before.iter().copied().chain([by]).collect() }
            }
            State::Down { .. } | State::Suspect { .. } => return,
        };
        let is_new = member.state == State::Alive;
        if let Some(deadline) = self.deadline(&state) {
            self.agenda.set(Timer::Suspicion(key), deadline);
        }
        self.table.set_state(key, state);
        self.counters.suspicions += u64::from(is_new);
        // When a part of the mesh is lost, confirmations would multiply the news at the worst time.
        let is_flooded = self.is_flooded();
        if is_new || !is_flooded {
            self.spread(key, Topic::Suspect { by }, now);
        }
        // A few look for themselves: if it is there it hears of the suspicion, if not they confirm it.
        if is_new && !is_flooded && by != self.key && self.random.below(self.len()) < CONFIRMATIONS {
            self.probe(key, now);
        }
    }

    pub(super) fn suspicion_due(&mut self, key: MemberKey, now: Now) {
        let deadline = self.table.get(key).and_then(|member| self.deadline(&member.state));
        if deadline.is_some_and(|deadline| deadline <= now.instant) {
            self.bury(key, now);
        }
    }

    /// Takes a member for gone that did not refute.
    fn bury(&mut self, key: MemberKey, now: Now) {
        let Some(member) = self.table.get(key).filter(|member| member.state.is_live()) else {
            return;
        };
        self.counters.deaths += 1;
        self.events.push_back(Event::Down { id: member.record.id.clone(), left: false });
        self.table.set_state(key, State::Down { left: false, since: now.instant });
        self.spread(key, Topic::Dead, now);
    }

    /// Until when a suspect can refute: the whole time if nobody confirms, half of it if three do, in between by the
    /// logarithm of their number (Lifeguard, section IV.B).
    fn deadline(&self, state: &State) -> Option<Instant> {
        let State::Suspect { since, by } = state else {
            return None;
        };
        let members = as_f64(self.len() + 1);
        let longest = self.timers.suspicion.mul_f64(0.75 + 0.25 * members.max(10.0).log10());
        // In a mesh too small for three others, fewer have to do.
        let wanted = CONFIRMATIONS.min(self.len().saturating_sub(1));
        let confirmed = by.len().saturating_sub(1).min(wanted);
        let shortened = if wanted == 0 { 0.0 } else { as_f64(confirmed + 1).ln() / as_f64(wanted + 1).ln() };
        Some(*since + longest.mul_f64(1.0 - 0.5 * shortened).max(Duration::from_millis(1)))
    }
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// Members beside the first whose suspicion shortens the time to refute.
const CONFIRMATIONS: usize = 3;
