use std::time::{Duration, Instant};

use tunmesh_protocol::UnixTime;

use crate::record::RecordDraft;

/// The time, as handed in with every call; neither part is ever read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// What timers run by; must not run backwards.
    pub instant: Instant,
    /// What datagrams and incarnations are stamped with.
    pub unix: UnixTime,
}

impl Now {
    pub(crate) fn unix_millis(self) -> u64 {
        u64::try_from(self.unix.since_epoch().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn unix_micros(self) -> u64 {
        u64::try_from(self.unix.since_epoch().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What one node is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What this node says of itself.
    pub own: RecordDraft,
    /// How often, how long.
    pub timers: Timers,
    /// Members kept, those that are down included; a newcomer is refused when there is no room. 10,000 by default.
    pub max_members: usize,
    /// By how much the clocks of two nodes may differ; older datagrams are refused. 30 s by default.
    pub max_clock_skew: Duration,
}

impl Settings {
    /// The defaults, for a node that says `own`.
    pub fn new(own: RecordDraft) -> Self {
        Self { own, timers: Timers::default(), max_members: 10_000, max_clock_skew: Duration::from_secs(30) }
    }
}

/// How often, how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Between two probes by one node. 1 s by default.
    pub probe_interval: Duration,
    /// Until a probe that nobody answered is repeated through others; they have as long again. 300 ms by default.
    pub ack_timeout: Duration,
    /// For how long a member among ten that nobody else suspects may refute; times 1.25 among 100, 1.5 among 1,000, and half
    /// as long when three others suspect it too. 2 s by default.
    pub suspicion: Duration,
    /// Between two rounds of gossip while there is news. 200 ms by default.
    pub gossip_interval: Duration,
    /// Between two comparisons with a random member. 10 s by default.
    pub sync_interval: Duration,
    /// Between two calls to a random one of the members that are down, so that a partition heals. 10 s by default.
    pub rejoin_interval: Duration,
    /// For how long a member that is down is remembered. 30 min by default.
    pub forget_after: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            probe_interval: Duration::from_secs(1),
            ack_timeout: Duration::from_millis(300),
            suspicion: Duration::from_secs(2),
            gossip_interval: Duration::from_millis(200),
            sync_interval: Duration::from_secs(10),
            rejoin_interval: Duration::from_secs(10),
            forget_after: Duration::from_secs(30 * 60),
        }
    }
}
