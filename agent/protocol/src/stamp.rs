use std::time::Duration;

use crate::UnixTime;

/// When a packet was read from the TUN device: Unix time in units of 2^-30 s (0.93 ns), rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// The stamp of `time`; the highest one from the year 2514 on.
    pub const fn at(time: UnixTime) -> Self {
        let since_epoch = time.since_epoch();
        let seconds = since_epoch.as_secs();
        if seconds >> (u64::BITS - FRACTION_BITS) != 0 {
            return Self(u64::MAX);
        }
        let fraction = ((since_epoch.subsec_nanos() as u64) << FRACTION_BITS) / NANOS_PER_SEC;
        Self(seconds << FRACTION_BITS | fraction)
    }

    /// The stamp that stands in a packet; every value is one.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The value that stands in a packet.
    pub const fn as_raw(self) -> u64 {
        self.0
    }

    /// Time from the stamp to `now`, zero if the stamp is in the future.
    pub fn age(self, now: UnixTime) -> Duration {
        let age = Self::at(now).0.saturating_sub(self.0);
        let nanos = ((age & FRACTION_MASK) * NANOS_PER_SEC) >> FRACTION_BITS;
        Duration::from_secs(age >> FRACTION_BITS) + Duration::from_nanos(nanos)
    }
}

const FRACTION_BITS: u32 = 30;
const FRACTION_MASK: u64 = (1 << FRACTION_BITS) - 1;
const NANOS_PER_SEC: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_unix_time_in_units_of_two_to_the_minus_thirty_seconds() {
        assert_eq!(Stamp::at(UnixTime::new(Duration::ZERO)).as_raw(), 0);
        assert_eq!(Stamp::at(UnixTime::new(Duration::from_millis(1500))).as_raw(), 3 << 29);
        assert_eq!(Stamp::at(UnixTime::new(Duration::MAX)).as_raw(), u64::MAX);
    }

    #[test]
    fn age_counts_from_the_stamp_and_a_future_stamp_has_none() {
        let stamp = Stamp::at(UnixTime::new(Duration::from_millis(10_250)));

        assert_eq!(stamp.age(UnixTime::new(Duration::from_millis(12_000))), Duration::from_millis(1750));
        assert_eq!(stamp.age(UnixTime::new(Duration::from_secs(10))), Duration::ZERO);
        assert_eq!(Stamp::from_raw(u64::MAX).age(UnixTime::new(Duration::from_secs(10))), Duration::ZERO);
    }
}
