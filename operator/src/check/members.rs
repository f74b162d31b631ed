use std::collections::BTreeMap;

use kube::ResourceExt;
use tunmesh_crds::{MemberReason, TunMeshMember};

use super::{Facts, Found, Level};
use crate::member::PodFacts;

/// Members that are held up, and by what.
pub(super) fn conditions(facts: &Facts) -> Vec<Found> {
    let mut found = Vec::new();
    for member in &facts.members {
        let conditions = member.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        for condition in conditions.iter().filter(|condition| condition.status == "False") {
            let info =
                MemberReason::ALL.iter().map(|reason| reason.info()).find(|info| info.reason == condition.reason);
            // An old sidecar is its mesh's finding, and that there is nothing yet is said by the condition that says why.
            let skipped = [MemberReason::TemplateOutdated, MemberReason::NotProvided];
            if skipped.iter().any(|reason| reason.info().reason == condition.reason) {
                continue;
            }
            let lasts = facts.now.duration_since(condition.last_transition_time.0).as_secs();
            if condition.reason == MemberReason::AgentNotReady.info().reason && lasts < START_SECONDS {
                continue;
            }
            let (cause, fix) = info.map_or(("", ""), |info| (info.meaning, info.action));
            found.push(Found::new(
                Level::Error,
                format!("{}: {}: {}", named(member), condition.type_, condition.message),
                cause,
                fix,
            ));
        }
    }
    found
}

pub(super) fn without_sidecar(facts: &Facts) -> Vec<Found> {
    let bare = facts.pods.iter().filter(|pod| !pod.over && pod.secret.is_none());
    let found = |pod: &PodFacts| {
        Found::new(
            Level::Error,
            format!("pod {}/{} of {}", pod.namespace, pod.name, pod.workload),
            "it has the label of a mesh, and was made while no webhook was there or in a namespace that it leaves out",
            format!("restart {}", pod.workload),
        )
    };
    bare.map(found).collect()
}

/// A certificate that should have been replaced and still was not a while later.
pub(super) fn certificates(facts: &Facts) -> Vec<Found> {
    let mut found = Vec::new();
    for member in &facts.members {
        let Some(status) = &member.status else { continue };
        let Some(material) = &status.material else { continue };
        let late = facts.now.duration_since(material.renews.0).as_secs();
        if late > LATE_SECONDS {
            let has_ended = facts.now >= material.expires.0;
            let level = if has_ended { Level::Error } else { Level::Warning };
            let text = format!(
                "{}: it was to be renewed at {} and ends at {}",
                named(member),
                material.renews.0,
                material.expires.0
            );
            let cause = "the operator does not run, or may not write the Secret of the member";
            let mut fix =
                "see TM1003, the events of the pod or the TunMeshMember, and the log of the operator".to_owned();
            // An agent outside has what a person carried there.
            if member.spec.outside.is_some() {
                let secret = status.secret_name.as_deref().unwrap_or_default();
                let namespace = member.namespace().unwrap_or_default();
                fix = format!("{fix}; then carry Secret {namespace}/{secret} to the machine");
            }
            found.push(Found::new(level, text, cause, fix));
        }
    }
    found
}

/// The claim of every address that a member has must be its own, or that of its place in a `StatefulSet`.
pub(super) fn claims(facts: &Facts) -> Vec<Found> {
    let owners: BTreeMap<_, _> = facts
        .claims
        .iter()
        .map(|claim| {
            ((claim.spec.mesh.namespace.clone(), claim.spec.mesh.name.clone(), claim.spec.address), &claim.spec.owner)
        })
        .collect();
    let mut found = Vec::new();
    for member in &facts.members {
        let Some(address) = member.status.as_ref().and_then(|status| status.addresses.ipv4) else { continue };
        // The address of a pod that is over is given back, and may be another's.
        let is_over = |pod: &PodFacts| pod.over && member.spec.pod.as_ref().is_some_and(|its| its.uid == pod.uid);
        if facts.pods.iter().any(is_over) {
            continue;
        }
        let namespace = member.namespace().unwrap_or_default();
        let mesh = member.spec.mesh.namespace.clone().unwrap_or_else(|| namespace.clone());
        let owner = owners.get(&(mesh, member.spec.mesh.name.clone(), address.into()));
        let uid = member.spec.pod.as_ref().map_or_else(|| member.uid(), |pod| Some(pod.uid.clone()));
        let is_its = |owner: &tunmesh_crds::AddressOwner| {
            let of_set = owner.ordinal.is_some_and(|ordinal| member.name_any() == format!("{}-{ordinal}", owner.name));
            owner.namespace == namespace && (Some(&owner.uid) == uid.as_ref() || of_set)
        };
        if owner.is_none_or(|owner| !is_its(owner)) {
            let whose =
                owner.map_or_else(|| "nobody's".to_owned(), |owner| format!("{}/{}'s", owner.namespace, owner.name));
            let text = format!("{} has {address}, whose claim is {whose}", named(member));
            let cause = "somebody edited a TunMeshAddress or the status of the member";
            found.push(Found::new(
                Level::Error,
                text,
                cause,
                "delete the pod, or the TunMeshMember of a machine outside",
            ));
        }
    }
    found
}

fn named(member: &TunMeshMember) -> String {
    format!("TunMeshMember {}/{}", member.namespace().unwrap_or_default(), member.name_any())
}

/// An agent that starts is ready by then, or something is wrong.
const START_SECONDS: i64 = 60;

/// An operator renews within moments; this long it may be away.
const LATE_SECONDS: i64 = 600;
