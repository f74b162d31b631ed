//! Conditions of our objects, as `meta/v1` has them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use tunmesh_crds::{MemberReason, MeshReason};

/// One finding: what a condition is to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding<Reason> {
    /// Reason, and with it condition and status.
    pub reason: Reason,
    /// What a person reads; the meaning of the reason if empty.
    pub message: String,
}

impl<Reason> Finding<Reason> {
    /// With the reason's own text.
    pub const fn plain(reason: Reason) -> Self {
        Self { reason, message: String::new() }
    }

    /// With more than that.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// What a reason says in a condition: type, status, reason, meaning.
pub trait Says: Copy {
    /// The four texts.
    fn texts(self) -> [&'static str; 4];
}

impl Says for MeshReason {
    fn texts(self) -> [&'static str; 4] {
        let info = self.info();
        [info.condition.as_str(), info.verdict.as_str(), info.reason, info.meaning]
    }
}

impl Says for MemberReason {
    fn texts(self) -> [&'static str; 4] {
        let info = self.info();
        [info.condition.as_str(), info.verdict.as_str(), info.reason, info.meaning]
    }
}

/// The conditions that say `findings`; the time of the last transition is that of `before` while the status is the same.
pub fn conditions<Reason: Says>(
    findings: &[Finding<Reason>],
    before: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    findings
        .iter()
        .map(|finding| {
            let [type_, status, reason, meaning] = finding.reason.texts();
            let same = before.iter().find(|condition| condition.type_ == type_ && condition.status == status);
            Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: if finding.message.is_empty() { meaning.to_owned() } else { finding.message.clone() },
                observed_generation: generation,
                last_transition_time: same.map_or(Time(now), |condition| condition.last_transition_time.clone()),
            }
        })
        .collect()
}

/// Those of `findings` whose reason is not what `before` says: what people should be told anew.
pub fn changed<'a, Reason: Says>(
    findings: &'a [Finding<Reason>],
    before: &'a [Condition],
) -> impl Iterator<Item = &'a Finding<Reason>> {
    findings.iter().filter(|finding| {
        let [type_, _, reason, _] = finding.reason.texts();
        !before.iter().any(|condition| condition.type_ == type_ && condition.reason == reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_transition_stays_while_the_status_does() {
        let [first, later] = [10, 20].map(|second| Timestamp::from_second(second).unwrap());
        let taken = [Finding::plain(MemberReason::AddressTaken)];
        let before = conditions(&taken, &[], Some(1), first);

        let exhausted = [Finding::new(MemberReason::PoolExhausted, "none of 6 is free")];
        let same_status = conditions(&exhausted, &before, Some(2), later);
        let other_status = conditions(&[Finding::plain(MemberReason::Claimed)], &before, Some(2), later);

        assert_eq!(same_status[0].last_transition_time, Time(first));
        assert_eq!((&*same_status[0].reason, &*same_status[0].message), ("PoolExhausted", "none of 6 is free"));
        assert_eq!(other_status[0].last_transition_time, Time(later));
        assert_eq!((changed(&taken, &before).count(), changed(&exhausted, &before).count()), (0, 1));
    }
}
