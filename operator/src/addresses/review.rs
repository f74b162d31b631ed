use std::time::Duration;

/// What to do about one claim, given what the API server said of its owner a moment ago.
///
/// An owner counts as gone only when that was seen twice, at least [`Rules::confirm`] apart, both times by asking the API
/// server and not a cache. Its address then rests for [`Rules::quarantine`], since others may still know the old member by
/// it. The deletion must name the version of the claim that was reviewed, so that one who reviewed something older
/// deletes nothing.
pub fn review(phase: Phase, owner: Owner, now: Duration, rules: Rules) -> Verdict {
    match (phase, owner) {
        (Phase::Claimed, Owner::Present) => Verdict::Keep,
        (Phase::Released { .. } | Phase::Quarantined { .. }, Owner::Present) => Verdict::Restore,
        (Phase::Claimed, Owner::Gone) => Verdict::Release,
        (Phase::Released { at }, Owner::Gone) => due(at, rules.confirm, now, Verdict::Quarantine),
        (Phase::Quarantined { at }, Owner::Gone) => due(at, rules.quarantine, now, Verdict::Delete),
    }
}

/// How long an address rests that was given back: twice as long as the longest certificate that names it is valid, so that none
/// outlives its holder into another's time; or `ceiling`, if somebody takes that risk.
pub fn rest(certificate_lifetime: Duration, ceiling: Option<Duration>) -> Duration {
    let rest = certificate_lifetime.saturating_mul(2);
    ceiling.map_or(rest, |ceiling| rest.min(ceiling))
}

fn due(at: Duration, wait: Duration, now: Duration, verdict: Verdict) -> Verdict {
    let until = at.saturating_add(wait);
    if now >= until { verdict } else { Verdict::Wait { until } }
}

/// Where a claim stands. Times are since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its owner has it.
    Claimed,
    /// Its owner was seen gone once, at this time.
    Released {
        /// The time.
        at: Duration,
    },
    /// Its owner is gone since this time.
    Quarantined {
        /// The time.
        at: Duration,
    },
}

/// What the API server says of the owner of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An object has its UID, and its member has this address or none yet.
    Present,
    /// No object has its UID any more, or its member has another address.
    Gone,
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Between the two looks.
    pub confirm: Duration,
    /// From the first look to the end of the rest.
    pub quarantine: Duration,
}

/// What to do about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Nothing before this time.
    Wait {
        /// The time.
        until: Duration,
    },
    /// Its owner is there after all: make it `Claimed`.
    Restore,
    /// Make it `Released` as of now.
    Release,
    /// Make it `Quarantined`, released when it was.
    Quarantine,
    /// Delete it, if it is still the version that was looked at.
    Delete,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_deleted_after_two_looks_and_its_rest() {
        let secs = Duration::from_secs;
        let rules = Rules { confirm: secs(10), quarantine: secs(100) };
        let (released, resting) = (Phase::Released { at: secs(5) }, Phase::Quarantined { at: secs(5) });
        let cases = [
            (Phase::Claimed, Owner::Present, 5, Verdict::Keep),
            (Phase::Claimed, Owner::Gone, 5, Verdict::Release),
            (released, Owner::Gone, 14, Verdict::Wait { until: secs(15) }),
            (released, Owner::Gone, 15, Verdict::Quarantine),
            (released, Owner::Present, 15, Verdict::Restore),
            (resting, Owner::Gone, 104, Verdict::Wait { until: secs(105) }),
            (resting, Owner::Gone, 105, Verdict::Delete),
            (resting, Owner::Present, 200, Verdict::Restore),
        ];
        for (phase, owner, now, verdict) in cases {
            assert_eq!(review(phase, owner, secs(now), rules), verdict, "{phase:?} {owner:?} at {now}");
        }
        assert_eq!((rest(secs(60), None), rest(secs(60), Some(secs(90)))), (secs(120), secs(90)));
        assert_eq!(rest(secs(60), Some(secs(200))), secs(120));
        let endless = Rules { quarantine: Duration::MAX, ..rules };
        assert_eq!(review(resting, Owner::Gone, secs(500), endless), Verdict::Wait { until: Duration::MAX });
    }
}
