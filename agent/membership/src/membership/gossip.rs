use std::net::SocketAddr;

use crate::agenda::Timer;
use crate::member_key::MemberKey;
use crate::message::{Draft, Kind};
use crate::news::Topic;
use crate::settings::Now;
use crate::table::Member;

use super::Membership;

impl Membership {
    /// Has a piece of news passed on.
    pub(super) fn spread(&mut self, about: MemberKey, topic: Topic, now: Now) {
        self.news.add(about, topic);
        if !self.gossip_due {
            self.gossip_due = true;
            let next = self.gossiped_at.map_or(now.instant, |at| at + self.timers.gossip_interval);
            self.agenda.set(Timer::Gossip, next.max(now.instant));
        }
    }

    /// Tells some members the news: in one datagram each, in a few if there is more.
    pub(super) fn gossip_due(&mut self, now: Now) {
        self.gossip_due = false;
        self.gossiped_at = Some(now.instant);
        for target in self.some_live(FANOUT) {
            let Some(address) = self.table.get(target).and_then(Member::address) else {
                continue;
            };
            for _ in 0..BURST {
                if self.news.is_empty() || self.send(address, &Kind::Gossip, &[], now) > ROOMY {
                    break;
                }
            }
        }
        // Without anybody to tell there is no news: who comes later compares.
        if self.table.live().is_empty() {
            self.news.clear();
        }
        if !self.news.is_empty() {
            self.gossip_due = true;
            self.agenda.set(Timer::Gossip, now.instant + self.timers.gossip_interval);
        }
    }

    /// Sends one datagram: `kind`, what is to be said first, and as much news as there is room for. The bytes left over.
    pub(super) fn send(&mut self, to: SocketAddr, kind: &Kind, first: &[(MemberKey, Topic)], now: Now) -> usize {
        let mut draft = Draft::new(self.key, self.stamp(now), kind);
        for (about, topic) in first {
            if let Some(item) = self.table.item(*about, *topic) {
                draft.add(&item);
            }
        }
        let times = self.times();
        let table = &self.table;
        self.news.tell(times, |about, topic| {
            let said = first.iter().any(|(first, _)| *first == about);
            said || table.item(about, topic).is_none_or(|item| draft.add(&item))
        });
        let room = draft.room();
        let nonce = self.nonces.next(&mut self.random);
        let datagram = self.keys.seal(nonce, draft.as_bytes());
        self.counters.datagrams_sent += 1;
        self.counters.bytes_sent += datagram.len() as u64;
        self.transmits.push_back((to, datagram));
        room
    }

    /// Different live members, at most `count`.
    pub(super) fn some_live(&mut self, count: usize) -> Vec<MemberKey> {
        let live = self.table.live();
        if live.len() <= count {
            return live.to_vec();
        }
        let mut some = Vec::with_capacity(count);
        while some.len() < count {
            let key = self.table.live()[self.random.below(self.len())];
            if !some.contains(&key) {
                some.push(key);
            }
        }
        some
    }

    /// How often each piece is sent by each member that has it: with 2 + 4 log10(n) all but one in e^(that) of the members
    /// hear of it (Demers et al. 1987, section 1.4), and those compare later. In a flood more is left to comparison.
    fn times(&self) -> usize {
        let members = f64::from(u32::try_from(self.len() + 1).unwrap_or(u32::MAX));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 2 and 41")]
        let times = (2.0 + 4.0 * members.log10()).ceil() as usize;
        if self.is_flooded() { times.min(TIMES_IN_FLOOD) } else { times }
    }

    /// Whether there is so much news that only what is necessary should be added to it.
    pub(super) fn is_flooded(&self) -> bool {
        self.news.len() > FLOOD
    }

    /// The time for a datagram: later than that of the one before, unless the clock was wrong by more than others allow.
    fn stamp(&mut self, now: Now) -> u64 {
        let time = now.unix_micros();
        let next = self.last_stamp.saturating_add(1);
        self.last_stamp = if next > time.saturating_add(self.max_clock_skew_micros) { time } else { next.max(time) };
        self.last_stamp
    }
}

/// Members told in one round of gossip.
const FANOUT: usize = 3;

/// Most datagrams to one of them in one round.
const BURST: usize = 4;

/// A datagram with more than so many bytes left over held all the news there was.
const ROOMY: usize = 400;

/// More pieces of news than this are a flood: many nodes start, or two halves of a mesh meet.
const FLOOD: usize = 64;

/// How often each piece is sent in a flood; 5 % of the members do not hear of it by that.
const TIMES_IN_FLOOD: usize = 3;
