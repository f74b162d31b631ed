use kube::ResourceExt;
use tunmesh_crds::{MeshCondition, MeshReason};

use super::{Facts, Found, Level};

/// Each condition that is not good; `Ready` only where no other says why.
pub(super) fn conditions(facts: &Facts) -> Vec<Found> {
    let mut found = Vec::new();
    for mesh in &facts.meshes {
        let name = format!("TunMesh {}/{}", mesh.namespace().unwrap_or_default(), mesh.name_any());
        let conditions = mesh.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        if conditions.is_empty() {
            let cause = "no operator has looked at it: it does not run, or lacks a right";
            found.push(Found::new(
                Level::Error,
                format!("{name} has no status"),
                cause,
                "see TM1003, and the log of the operator",
            ));
        }
        let bad = conditions.iter().filter(|condition| condition.status == "False");
        for condition in bad.filter(|condition| condition.type_ != MeshCondition::Ready.as_str()) {
            let info = MeshReason::ALL.iter().map(|reason| reason.info()).find(|info| info.reason == condition.reason);
            let (cause, fix) = info.map_or(("", ""), |info| (info.meaning, info.action));
            let is_warning = WARNINGS.iter().any(|reason| reason.info().reason == condition.reason);
            let level = if is_warning { Level::Warning } else { Level::Error };
            found.push(Found::new(level, format!("{name}: {}: {}", condition.type_, condition.message), cause, fix));
        }
    }
    found
}

/// Reasons with which a mesh still works.
const WARNINGS: [MeshReason; 4] =
    [MeshReason::NearlyExhausted, MeshReason::SidecarOutdated, MeshReason::AuthorityExpiring, MeshReason::PoolOverlaps];
