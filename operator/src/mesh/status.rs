use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use tunmesh_crds::{AddressUse, MIN_MTU, MemberCounts, MeshCondition, MeshReason, Mtu, Verdict};

use crate::conditions::Finding;
use crate::layout::DEFAULT_MTU;

/// What is known of a mesh when its status is written.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// Whether the spec can be carried out; if not, why.
    pub(super) refused: Option<Finding<MeshReason>>,
    /// Whether everything is written; if not, why.
    pub(super) programmed: Finding<MeshReason>,
    /// Authority and secret.
    pub(super) trust: Finding<MeshReason>,
    pub(super) addresses: AddressUse,
    /// Pods that wait for an address.
    pub(super) without_address: usize,
    /// A network of the mesh that something of the cluster overlaps since.
    pub(super) overlap: Option<String>,
    pub(super) members: MemberCounts,
    /// Whether pods with the label reach the webhook.
    pub(super) webhook: bool,
    /// Workloads whose pods have the label and no sidecar.
    pub(super) without_sidecar: BTreeSet<String>,
    /// Workloads whose pods have a sidecar of an older template.
    pub(super) outdated: BTreeSet<String>,
    /// Nodes with members that wait for a helper.
    pub(super) without_helper: BTreeSet<String>,
    /// What the agents say of the underlay.
    pub(super) mtu: Finding<MeshReason>,
}

/// The conditions of a mesh, `Ready` first.
pub(super) fn findings(observed: &Observed) -> Vec<Finding<MeshReason>> {
    let mut findings = vec![
        observed.refused.clone().unwrap_or_else(|| Finding::plain(MeshReason::Valid)),
        observed.programmed.clone(),
        observed.trust.clone(),
        addresses(observed),
        injection(observed),
        observed.mtu.clone(),
    ];
    findings.insert(0, ready(observed, &findings));
    findings
}

fn ready(observed: &Observed, others: &[Finding<MeshReason>]) -> Finding<MeshReason> {
    let bad = others.iter().find(|finding| match finding.reason.info().verdict {
        Verdict::False => true,
        // Nobody has measured in a mesh without members; that is no fault.
        Verdict::Unknown => finding.reason.info().condition != MeshCondition::MtuHealthy,
        Verdict::True => false,
    });
    if let Some(bad) = bad {
        let info = bad.reason.info();
        return Finding::new(
            MeshReason::Degraded,
            format!("{}: {}", info.condition.as_str(), bad.reason.info().reason),
        );
    }
    let members = &observed.members;
    if members.waiting > 0 {
        return Finding::new(
            MeshReason::MembersWaiting,
            format!("{} of {} members wait", members.waiting, members.total),
        );
    }
    Finding::new(MeshReason::Working, format!("{} members", members.total))
}

fn addresses(observed: &Observed) -> Finding<MeshReason> {
    let AddressUse { capacity, used, quarantined } = observed.addresses;
    let taken = used + quarantined;
    let message = format!("{used} of {capacity} addresses are in use, {quarantined} rest");
    if let Some(overlap) = &observed.overlap {
        return Finding::new(MeshReason::PoolOverlaps, overlap);
    }
    if capacity > 0 && (taken >= capacity || observed.without_address > 0) {
        return Finding::new(MeshReason::Exhausted, format!("{message}; {} pods wait", observed.without_address));
    }
    // In whole numbers: taken / capacity >= 4 / 5.
    if capacity > 0 && u64::from(taken) * 5 >= u64::from(capacity) * 4 {
        return Finding::new(MeshReason::NearlyExhausted, message);
    }
    Finding::new(MeshReason::Available, message)
}

fn injection(observed: &Observed) -> Finding<MeshReason> {
    let listed = |names: &BTreeSet<String>| {
        let few = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
        if names.len() > LISTED { format!("{few} and {} more", names.len() - LISTED) } else { few }
    };
    let cases = [
        (MeshReason::SidecarMissing, &observed.without_sidecar),
        (MeshReason::HelperMissing, &observed.without_helper),
        (MeshReason::SidecarOutdated, &observed.outdated),
    ];
    if !observed.webhook {
        return Finding::plain(MeshReason::WebhookUnavailable);
    }
    let case = cases.into_iter().find(|(_, names)| !names.is_empty());
    case.map_or(Finding::plain(MeshReason::Injecting), |(reason, names)| Finding::new(reason, listed(names)))
}

/// Whether an authority lives long enough for certificates of a full lifetime.
pub(super) fn authority(expires: Timestamp, now: Timestamp, lifetime: std::time::Duration) -> Finding<MeshReason> {
    let left = std::time::Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    if left < lifetime {
        return Finding::new(MeshReason::AuthorityExpiring, format!("the authority ends at {expires}"));
    }
    Finding::plain(MeshReason::Issued)
}

/// MTU of a mesh. With `Auto` it is [`DEFAULT_MTU`], or what paths were found to carry if that is less; what was found last
/// counts while nobody measures.
pub(super) fn mtu(spec: Mtu, before: Option<u16>, largest_packet: Option<u16>) -> u16 {
    match spec {
        Mtu::Bytes(bytes) => bytes,
        Mtu::Auto => {
            let carried = largest_packet.or(before).unwrap_or(DEFAULT_MTU);
            carried.clamp(MIN_MTU, DEFAULT_MTU)
        }
    }
}

/// What the measured paths say of packets of `mtu` bytes.
pub(super) fn underlay(mtu: u16, largest_packet: Option<u16>) -> Finding<MeshReason> {
    match largest_packet {
        None => Finding::plain(MeshReason::Measuring),
        Some(largest) if largest < mtu => Finding::new(
            MeshReason::UnderlayTooSmall,
            format!("packets of up to {largest} bytes pass, of {mtu} do not"),
        ),
        Some(_) => Finding::plain(MeshReason::Fits),
    }
}

/// Names in one message.
const LISTED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Observed {
        Observed {
            refused: None,
            programmed: Finding::plain(MeshReason::Written),
            trust: Finding::plain(MeshReason::Issued),
            addresses: AddressUse { capacity: 10, used: 7, quarantined: 0 },
            without_address: 0,
            overlap: None,
            members: MemberCounts { total: 7, ready: 7, waiting: 0, drifted: 0 },
            webhook: true,
            without_sidecar: BTreeSet::new(),
            outdated: BTreeSet::new(),
            without_helper: BTreeSet::new(),
            mtu: Finding::plain(MeshReason::Fits),
        }
    }

    /// Reason of `Ready`, and those that are not good.
    fn said(observed: &Observed) -> (MeshReason, Vec<MeshReason>) {
        let findings = findings(observed);
        let bad = findings[1..].iter().map(|finding| finding.reason);
        (findings[0].reason, bad.filter(|reason| reason.info().verdict != Verdict::True).collect())
    }

    #[test]
    fn every_fault_is_named_and_makes_the_mesh_degraded() {
        use MeshReason as R;
        let names = || BTreeSet::from(["Deployment/web".to_owned()]);
        let use_of = |used, quarantined| AddressUse { capacity: 10, used, quarantined };
        let cases = [
            (well(), R::Working, vec![]),
            (Observed { addresses: use_of(4, 4), ..well() }, R::Degraded, vec![R::NearlyExhausted]),
            (Observed { addresses: use_of(4, 6), ..well() }, R::Degraded, vec![R::Exhausted]),
            (Observed { without_address: 1, ..well() }, R::Degraded, vec![R::Exhausted]),
            (Observed { overlap: Some("x".into()), ..well() }, R::Degraded, vec![R::PoolOverlaps]),
            (Observed { webhook: false, ..well() }, R::Degraded, vec![R::WebhookUnavailable]),
            (Observed { without_sidecar: names(), outdated: names(), ..well() }, R::Degraded, vec![R::SidecarMissing]),
            (Observed { without_helper: names(), ..well() }, R::Degraded, vec![R::HelperMissing]),
            (Observed { mtu: Finding::plain(R::Measuring), ..well() }, R::Working, vec![R::Measuring]),
            (Observed { members: MemberCounts { waiting: 1, ..well().members }, ..well() }, R::MembersWaiting, vec![]),
        ];
        for (observed, ready, bad) in cases {
            assert_eq!(said(&observed), (ready, bad), "{observed:?}");
        }
    }

    #[test]
    fn auto_is_what_paths_carry() {
        let auto = |before, largest| mtu(Mtu::Auto, before, largest);
        assert_eq!([auto(None, None), auto(None, Some(9000)), auto(Some(1420), Some(1370))], [1420, 1420, 1370]);
        assert_eq!([auto(Some(1370), None), auto(Some(1370), Some(1420)), auto(None, Some(900))], [1370, 1420, 1280]);
        assert_eq!(mtu(Mtu::Bytes(9000), Some(1420), Some(1370)), 9000);
        let reasons = [None, Some(1419), Some(1420)].map(|largest| underlay(1420, largest).reason);
        assert_eq!(reasons, [MeshReason::Measuring, MeshReason::UnderlayTooSmall, MeshReason::Fits]);
    }

    #[test]
    fn many_workloads_are_counted_and_not_listed() {
        let outdated = (0..7).map(|number| format!("Deployment/{number}")).collect();
        let findings = findings(&Observed { outdated, ..well() });
        let message =
            findings.iter().find(|finding| finding.reason == MeshReason::SidecarOutdated).map(|it| &*it.message);

        assert_eq!(message, Some("Deployment/0, Deployment/1, Deployment/2, Deployment/3, Deployment/4 and 2 more"));
    }
}
