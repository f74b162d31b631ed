use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::member_key::MemberKey;
use crate::refused::Refused;

/// Which datagrams of which sender were seen already.
///
/// A datagram carries its sender's stamp: Unix time in µs, one more than the last one if that is not later. What is older
/// than the allowed skew is refused for its age, so only the younger stamps are remembered, at most [`WINDOW`] per sender;
/// one below those is refused as well.
#[derive(Debug)]
pub(crate) struct Replay {
    skew: Duration,
    most_senders: usize,
    windows: BTreeMap<MemberKey, Window>,
}

#[derive(Debug)]
struct Window {
    /// No stamp up to this one is taken any more.
    floor: u64,
    /// Ascending.
    seen: Vec<u64>,
    heard_at: Instant,
}

impl Replay {
    pub(crate) const fn new(skew: Duration, most_senders: usize) -> Self {
        Self { skew, most_senders, windows: BTreeMap::new() }
    }

    /// Whether the stamp is new; the answer is whether it is also the latest of its sender.
    ///
    /// # Errors
    ///
    /// [`Refused::ClockSkew`], [`Refused::Replayed`] or [`Refused::TooManySenders`].
    pub(crate) fn accept(
        &mut self,
        sender: MemberKey,
        stamp: u64,
        unix_micros: u64,
        now: Instant,
    ) -> Result<bool, Refused> {
        let skew = u64::try_from(self.skew.as_micros()).unwrap_or(u64::MAX);
        if stamp.abs_diff(unix_micros) > skew {
            return Err(Refused::ClockSkew);
        }
        if !self.windows.contains_key(&sender) && self.windows.len() >= self.most_senders {
            return Err(Refused::TooManySenders);
        }
        let window = self.windows.entry(sender).or_insert_with(|| Window { floor: 0, seen: Vec::new(), heard_at: now });
        let Err(place) = window.seen.binary_search(&stamp) else {
            return Err(Refused::Replayed);
        };
        if stamp <= window.floor {
            return Err(Refused::Replayed);
        }
        let latest = place == window.seen.len();
        window.seen.insert(place, stamp);
        window.heard_at = now;
        let too_old = window.seen.partition_point(|seen| *seen < unix_micros.saturating_sub(skew));
        let forgotten = too_old.max(window.seen.len().saturating_sub(WINDOW));
        if let Some(last) = window.seen.drain(..forgotten).next_back() {
            window.floor = last;
        }
        Ok(latest)
    }

    /// Forgets senders whose datagrams are all too old to be taken again, whichever way the clocks differ.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let skew = self.skew;
        self.windows.retain(|_, window| now.saturating_duration_since(window.heard_at) <= skew * 2);
    }
}

/// Stamps remembered per sender: bursts of a transfer may arrive in any order.
const WINDOW: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW: Duration = Duration::from_secs(30);
    const NOW: u64 = 1_795_000_000_000_000;

    fn accept(replay: &mut Replay, sender: u64, stamp: u64, now: u64, start: Instant) -> Result<bool, Refused> {
        replay.accept(MemberKey(sender), stamp, now, start + Duration::from_micros(now - NOW))
    }

    #[test]
    fn a_stamp_is_taken_once_in_any_order() {
        let (mut replay, start) = (Replay::new(SKEW, 10), Instant::now());

        assert_eq!(accept(&mut replay, 1, NOW + 2, NOW, start), Ok(true));
        assert_eq!(accept(&mut replay, 1, NOW + 1, NOW, start), Ok(false));
        assert_eq!(accept(&mut replay, 2, NOW + 2, NOW, start), Ok(true));
        for stamp in [NOW + 1, NOW + 2] {
            assert_eq!(accept(&mut replay, 1, stamp, NOW, start), Err(Refused::Replayed));
        }
    }

    #[test]
    fn what_is_older_or_newer_than_the_skew_is_refused() {
        let (mut replay, start) = (Replay::new(SKEW, 10), Instant::now());
        let skew = 30_000_000;

        assert_eq!(accept(&mut replay, 1, NOW - skew - 1, NOW, start), Err(Refused::ClockSkew));
        assert_eq!(accept(&mut replay, 1, NOW + skew + 1, NOW, start), Err(Refused::ClockSkew));
        assert_eq!(accept(&mut replay, 1, NOW - skew, NOW, start), Ok(true));
        assert_eq!(accept(&mut replay, 1, NOW + skew, NOW, start), Ok(true));
    }

    #[test]
    fn no_stamp_is_taken_twice_however_many_came_since() {
        let (mut replay, start) = (Replay::new(SKEW, 10), Instant::now());
        for stamp in 1..=1000 {
            assert_eq!(accept(&mut replay, 1, NOW + stamp, NOW, start), Ok(true));
        }
        for stamp in 0..=1000 {
            assert_eq!(accept(&mut replay, 1, NOW + stamp, NOW, start), Err(Refused::Replayed));
        }
    }

    #[test]
    fn a_sender_is_forgotten_only_when_its_stamps_are_too_old_anyway() {
        let (mut replay, start) = (Replay::new(SKEW, 1), Instant::now());
        // By its clock, which is 30 s ahead.
        accept(&mut replay, 1, NOW + 30_000_000, NOW, start).unwrap();
        assert_eq!(accept(&mut replay, 2, NOW, NOW, start), Err(Refused::TooManySenders));

        replay.sweep(start + Duration::from_secs(60));
        assert_eq!(accept(&mut replay, 1, NOW + 30_000_000, NOW + 60_000_000, start), Err(Refused::Replayed));
        replay.sweep(start + Duration::from_micros(60_000_001));
        assert_eq!(accept(&mut replay, 1, NOW + 30_000_000, NOW + 60_000_001, start), Err(Refused::ClockSkew));
        assert_eq!(accept(&mut replay, 2, NOW + 60_000_000, NOW + 60_000_000, start), Ok(true));
    }
}
