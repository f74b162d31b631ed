use std::time::Duration;

/// Time constants (paper, section 6.1, unless told otherwise), each at least 15 ms. Any endpoint works with the defaults;
/// tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Age of a session at which its initiator replaces it once something is sent.
    pub rekey_after_time: Duration,
    /// Age of a session at which it is no longer used.
    pub reject_after_time: Duration,
    /// Time after which a handshake that nobody answers is given up.
    pub rekey_attempt_time: Duration,
    /// Time between two initiations to one peer, to which up to a fifteenth is added at random.
    pub rekey_timeout: Duration,
    /// Silence after which data that came in is answered with a keepalive.
    pub keepalive_timeout: Duration,
    /// Age at which a cookie is no longer good (section 5.3).
    pub cookie_refresh_time: Duration,
    /// Least time between two initiations taken from one peer (section 5.1 leaves the limit open, 20 per second).
    pub initiation_interval: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            rekey_after_time: Duration::from_secs(120),
            reject_after_time: Duration::from_secs(180),
            rekey_attempt_time: Duration::from_secs(90),
            rekey_timeout: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(10),
            cookie_refresh_time: Duration::from_secs(120),
            initiation_interval: Duration::from_millis(50),
        }
    }
}

impl Timers {
    /// Age at which the initiator replaces a session that it only receives on, so that the new one is there in time.
    pub(crate) fn rekey_on_receive(&self) -> Duration {
        self.reject_after_time.saturating_sub(self.unanswered())
    }

    /// Silence after data was sent that is taken for a peer that lost its session.
    pub(crate) fn unanswered(&self) -> Duration {
        self.keepalive_timeout + self.rekey_timeout
    }

    /// Time between two looks at what packet threads do, where a look must follow at once but nobody tells.
    pub(crate) fn look(&self) -> Duration {
        self.rekey_timeout / 5
    }

    /// Longest random addition to a time, so that two ends do not keep acting at the same moment.
    pub(crate) fn jitter(&self) -> Duration {
        self.rekey_timeout / 15
    }
}
