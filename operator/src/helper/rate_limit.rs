use std::time::{Duration, Instant};

/// A token bucket: [`BURST`] attempts at once, then one every [`INTERVAL`].
#[derive(Debug)]
pub(super) struct RateLimit {
    /// When the bucket is full again, if nothing is taken.
    full_at: Instant,
}

impl RateLimit {
    /// A full one.
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Whether another attempt may be made now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + INTERVAL;
        let is_within = full_at.duration_since(now) <= INTERVAL * BURST;
        if is_within {
            self.full_at = full_at;
        }
        is_within
    }
}

/// An agent that starts before its member is written asks a few times within the first second.
const BURST: u32 = 10;
/// What the containers of one pod may cost the API server in the long run.
const INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_one_at_each_interval() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start);
        let taken = |limit: &mut RateLimit, now| (0..100).filter(|_| limit.take(now)).count();

        assert_eq!(taken(&mut limit, start), 10);
        assert_eq!(taken(&mut limit, start + INTERVAL / 2), 0);
        assert_eq!(taken(&mut limit, start + INTERVAL), 1);
        assert_eq!(taken(&mut limit, start + INTERVAL * 4), 3);
        assert_eq!(taken(&mut limit, start + INTERVAL * 1000), 10);
    }
}
