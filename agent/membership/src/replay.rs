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
        let window =
            self.windows.entry(sender).or_insert_with(|| Window { floor: 0, seen: Vec::new(), heard_at: now });
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
