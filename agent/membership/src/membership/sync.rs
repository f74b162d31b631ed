use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::agenda::Timer;
use crate::member_key::MemberKey;
use crate::message::{BUCKETS, Draft, Kind, MAX_LISTED, MAX_PULLED};
use crate::news::Topic;
use crate::settings::Now;
use crate::table::{Member, State};

use super::Membership;

/// Members held as alive, each with its incarnation, complete between two keys.
type Listing = (RangeInclusive<MemberKey>, Vec<(MemberKey, u64)>);

/// Comparison of two nodes (anti-entropy, Demers et al. 1987, section 1.3): roots, then buckets where the roots differ, then
/// the members in the buckets that differ, then the records that one of them lacks. No step needs to be remembered.
impl Membership {
    /// Sends our record to `address`, and the root of what we know.
    pub(super) fn introduce(&mut self, address: SocketAddr, now: Now) {
        let root = self.table.summary().root();
        self.send(address, &Kind::Digest { root }, &[(self.key, Topic::Record)], now);
    }

    /// Makes itself known to a member that is there from now on, and compares, unless it did so with another just now: when
    /// many nodes meet at once, each of them would else send everything to each other.
    pub(super) fn welcome(&mut self, address: SocketAddr, now: Now) {
        if self.welcomed_at.is_some_and(|at| now.instant.saturating_duration_since(at) < WELCOME_INTERVAL) {
            self.send(address, &Kind::Gossip, &[(self.key, Topic::Record)], now);
        } else {
            self.welcomed_at = Some(now.instant);
            self.introduce(address, now);
        }
    }

    /// Compares with a random member.
    pub(super) fn sync_due(&mut self, now: Now) {
        self.agenda.set(Timer::Sync, now.instant + self.timers.sync_interval);
        let root = self.table.summary().root();
        for target in self.some_live(1) {
            if let Some(address) = self.table.get(target).and_then(Member::address) {
                self.send(address, &Kind::Digest { root }, &[], now);
            }
        }
    }

    /// Calls a random one of those that are down: it may only have been out of reach.
    pub(super) fn rejoin_due(&mut self, now: Now) {
        self.agenda.set(Timer::Rejoin, now.instant + self.timers.rejoin_interval);
        let lost = |member: &Member| matches!(member.state, State::Down { left: false, .. });
        let count = self.table.iter().filter(|(_, member)| lost(member)).count();
        let chosen = self.random.below(count);
        let member = self.table.iter().map(|(_, member)| member).filter(|member| lost(member)).nth(chosen);
        for address in member.map(Member::addresses).unwrap_or_default() {
            self.introduce(address, now);
        }
    }

    pub(super) fn compare_root(&mut self, root: u64, source: SocketAddr, now: Now) {
        if root == self.table.summary().root() {
            return;
        }
        if self.len() < MAX_LISTED {
            self.send_listings(&[MemberKey(0)..=MemberKey(u64::MAX)], source, now);
        } else {
            self.send(source, &Kind::Buckets { buckets: self.table.summary().buckets() }, &[], now);
        }
    }

    pub(super) fn compare_buckets(&mut self, buckets: &[u32; BUCKETS], source: SocketAddr, now: Now) {
        let ranges = self.table.summary().differing(buckets);
        self.send_listings(&ranges, source, now);
    }

    /// Asks for what is newer there, sends what is newer here.
    pub(super) fn compare_listing(
        &mut self,
        keys: RangeInclusive<MemberKey>,
        theirs: &[(MemberKey, u64)],
        source: SocketAddr,
        now: Now,
    ) {
        let mut wanted = Vec::new();
        let mut pushes = Vec::new();
        for (key, incarnation) in theirs {
            match self.table.get(*key) {
                None => wanted.push(*key),
                Some(member) if member.record.incarnation < *incarnation => wanted.push(*key),
                Some(member) if member.record.incarnation > *incarnation => pushes.push((*key, true)),
                Some(member) if member.state.is_live() => {}
                Some(_) => pushes.push((*key, false)),
            }
        }
        let lacking = |key: &MemberKey| theirs.binary_search_by_key(key, |(key, _)| *key).is_err();
        pushes.extend(self.table.listed(keys).map(|(key, _)| key).filter(lacking).map(|key| (key, true)));
        for keys in wanted.chunks(MAX_PULLED) {
            self.send(source, &Kind::Pull { keys: keys.to_vec() }, &[], now);
        }
        self.push(pushes, source, now);
    }

    pub(super) fn take_pull(&mut self, keys: &[MemberKey], source: SocketAddr, now: Now) {
        self.push(keys.iter().map(|key| (*key, true)), source, now);
    }

    /// Sends some of what is to be pushed, and the rest later.
    pub(super) fn push_due(&mut self, now: Now) {
        for _ in 0..PUSH_DATAGRAMS {
            let Some((to, ..)) = self.pushes.first().copied() else {
                return;
            };
            let mut draft = Draft::empty();
            let mut topics = Vec::new();
            while let Some((_, key, record)) = self.pushes.first().copied().filter(|(next, ..)| *next == to) {
                let pushed = self.pushed(key, record);
                let items = pushed.iter().filter_map(|topic| self.table.item(key, *topic));
                if !items.fold(true, |fits, item| fits & draft.add(&item)) {
                    break;
                }
                self.pushes.pop_first();
                topics.extend(pushed.into_iter().map(|topic| (key, topic)));
            }
            self.send(to, &Kind::Gossip, &topics, now);
        }
        if !self.pushes.is_empty() {
            self.agenda.set(Timer::Push, now.instant + PUSH_INTERVAL);
        }
    }

    /// What somebody who lacks it is told of a member. One that is down is only called suspect: it refutes, or the suspicion
    /// ends as it did here.
    pub(super) fn pushed(&self, key: MemberKey, record: bool) -> Vec<Topic> {
        let lost = matches!(self.table.get(key).map(|member| &member.state), Some(State::Down { left: false, .. }));
        let record = record.then_some(Topic::Record);
        record.into_iter().chain(lost.then_some(Topic::Suspect { by: self.key })).collect()
    }

    pub(super) fn push(&mut self, keys: impl IntoIterator<Item = (MemberKey, bool)>, to: SocketAddr, now: Now) {
        let was_empty = self.pushes.is_empty();
        for (key, record) in keys {
            if self.pushes.len() < MAX_PUSHES {
                self.pushes.insert((to, key, record));
            }
        }
        if was_empty && !self.pushes.is_empty() {
            self.agenda.set(Timer::Push, now.instant);
        }
    }

    fn send_listings(&mut self, ranges: &[RangeInclusive<MemberKey>], to: SocketAddr, now: Now) {
        for (keys, entries) in self.listings(ranges) {
            self.send(to, &Kind::Listing { keys, entries }, &[], now);
        }
    }

    /// Listings that cover `ranges`, which ascend, and as few as possible: what lies between two ranges is listed along where
    /// that saves one.
    fn listings(&self, ranges: &[RangeInclusive<MemberKey>]) -> Vec<Listing> {
        let mut listings: Vec<Listing> = Vec::new();
        for range in ranges {
            if let Some((keys, entries)) = listings.last_mut() {
                let between = MemberKey(keys.end().0.saturating_add(1))..=*range.end();
                let room = MAX_LISTED - entries.len();
                let more: Vec<_> = self.table.listed(between).take(room + 1).collect();
                if more.len() <= room {
                    entries.extend(more);
                    *keys = *keys.start()..=*range.end();
                    continue;
                }
            }
            let mut start = *range.start();
            let mut entries: Vec<_> = self.table.listed(range.clone()).collect();
            while entries.len() > MAX_LISTED {
                let rest = entries.split_off(MAX_LISTED);
                let next = rest[0].0;
                listings.push((start..=MemberKey(next.0 - 1), entries));
                (start, entries) = (next, rest);
            }
            listings.push((start..=*range.end(), entries));
        }
        listings
    }
}

/// Records are pushed in bursts of so many datagrams, so far apart: 4 Mbit/s.
const PUSH_DATAGRAMS: usize = 8;
const PUSH_INTERVAL: Duration = Duration::from_millis(20);

/// Least time between two comparisons with members that just came.
const WELCOME_INTERVAL: Duration = Duration::from_secs(1);

/// Most pieces waiting to be pushed; who lacks the others compares again later.
const MAX_PUSHES: usize = 16_384;
