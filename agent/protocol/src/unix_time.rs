use std::time::Duration;

/// Wall-clock time since 1970-01-01T00:00:00Z, handed in by whoever owns a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(Duration);

impl UnixTime {
    /// The time `since_epoch` after 1970.
    pub const fn new(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// Seconds since 1970.
    pub fn as_secs_f64(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// Time since 1970.
    pub const fn since_epoch(self) -> Duration {
        self.0
    }
}
