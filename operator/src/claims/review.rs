use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use serde_json::json;
use tunmesh_crds::{AddressPhase, OwnerKind, Period, TunMesh, TunMeshAddress, TunMeshAddressStatus, TunMeshMember};

use crate::addresses::{Owner, Phase, Rules, Verdict, rest, review};
use crate::context::{Context, Settings};
use crate::error::Error;

/// Looks at one claim: asks the API server for its owner, and does what [`review`] says.
pub(crate) async fn reconcile(claim: Arc<TunMeshAddress>, context: Arc<Context>) -> Result<Action, Error> {
    let now = Timestamp::now();
    if let Some(later) = not_yet(&claim, now) {
        return Ok(Action::requeue(later));
    }
    let is_settled = claim.status.as_ref().and_then(|status| status.phase) == Some(AddressPhase::Claimed);
    if is_settled && is_known_to_be_held(&context, &claim) {
        return Ok(Action::requeue(LOOK_AGAIN));
    }
    let api = Api::<TunMeshAddress>::all(context.client.clone());
    let mesh = mesh_of(&context, &claim).await?;
    let owner = match &mesh {
        Some(_) => owner_of(&context, &claim).await?,
        None => Owner::Gone,
    };
    let rules = rules(&context.settings, &claim, mesh.is_some());
    let verdict = review(phase(&claim), owner, since_epoch(now), rules);
    match verdict {
        Verdict::Keep if claim.status.as_ref().is_some_and(|status| status.phase.is_some()) => {}
        Verdict::Keep | Verdict::Restore => write(&api, &claim, AddressPhase::Claimed, None).await?,
        Verdict::Release => write(&api, &claim, AddressPhase::Released, Some(Time(now))).await?,
        Verdict::Quarantine => {
            let released_at = claim.status.as_ref().and_then(|status| status.released_at.clone());
            write(&api, &claim, AddressPhase::Quarantined, Some(released_at.unwrap_or(Time(now)))).await?;
        }
        Verdict::Delete => delete(&api, &claim).await?,
        Verdict::Wait { until } => return Ok(Action::requeue(until.saturating_sub(since_epoch(now)).min(LOOK_AGAIN))),
    }
    // Every write comes back as an event; an owner whose end was missed is found by looking again.
    Ok(Action::requeue(LOOK_AGAIN))
}

/// How long a claim that was just made is left alone, while its pod starts and the API server has enough to do.
fn not_yet(claim: &TunMeshAddress, now: Timestamp) -> Option<Duration> {
    let age = Duration::try_from(now.duration_since(claim.metadata.creation_timestamp.as_ref()?.0)).ok()?;
    let is_new = claim.status.as_ref().is_none_or(|status| status.phase.is_none());
    FIRST_LOOK.checked_sub(age).filter(|_| is_new)
}

/// Whether a pod holds the claim, as far as is known here. It may be gone since: then a claim lasts longer, and none ends
/// too soon.
fn is_known_to_be_held(context: &Context, claim: &TunMeshAddress) -> bool {
    let (mesh, owner) = (&claim.spec.mesh, &claim.spec.owner);
    let stores = &context.stores;
    let is_mesh =
        |known: &TunMesh| known.uid().as_ref() == Some(&mesh.uid) && known.metadata.deletion_timestamp.is_none();
    let is_pod = |known: &Pod| known.uid().as_ref() == Some(&owner.uid) && !is_over(known);
    let is_member = |known: &TunMeshMember| {
        known.spec.pod.as_ref().is_some_and(|pod| pod.uid == owner.uid) && has(known, claim) == Owner::Present
    };
    owner.kind == OwnerKind::Pod
        && stores.meshes.get(&ObjectRef::new(&mesh.name).within(&mesh.namespace)).is_some_and(|known| is_mesh(&known))
        && stores.pods.get(&ObjectRef::new(&owner.name).within(&owner.namespace)).is_some_and(|known| is_pod(&known))
        && stores
            .members
            .get(&ObjectRef::new(&owner.name).within(&owner.namespace))
            .is_some_and(|known| is_member(&known))
}

/// Has the claim say how long the certificates are valid that name its address, before one is issued.
pub(super) async fn cover(api: &Api<TunMeshAddress>, claim: &TunMeshAddress, lifetime: Period) -> Result<(), Error> {
    if claim.spec.certificate_lifetime >= lifetime {
        return Ok(());
    }
    let name = claim.name_any();
    let version = claim.resource_version();
    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"certificateLifetime": lifetime}});
    let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map(drop).map_err(Error::api(format!("note that certificates of claim {name} are valid for {lifetime}")))
}

/// Frees the address of a mesh that is going.
pub(crate) async fn free(context: &Context, claim: &TunMeshAddress) -> Result<(), Error> {
    delete(&Api::all(context.client.clone()), claim).await
}

/// Deletes the claim if it is still the version that was looked at.
pub(super) async fn delete(api: &Api<TunMeshAddress>, claim: &TunMeshAddress) -> Result<(), Error> {
    let name = claim.name_any();
    let attempt = || format!("free the address of claim {name}");
    let preconditions = Preconditions { resource_version: claim.resource_version(), uid: claim.uid() };
    let params = DeleteParams::default().preconditions(preconditions);
    match api.delete(&name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        deleted => deleted.map_err(Error::api(attempt()))?,
    };
    // Nobody gets the name before the last finalizer is off; the UID keeps a successor's claim out of this.
    let patch = json!({"metadata": {"uid": claim.uid(), "finalizers": null}});
    match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        patched => patched.map(drop).map_err(Error::api(attempt())),
    }
}

async fn write(
    api: &Api<TunMeshAddress>,
    claim: &TunMeshAddress,
    phase: AddressPhase,
    released_at: Option<Time>,
) -> Result<(), Error> {
    let mut claim = claim.clone();
    claim.status = Some(TunMeshAddressStatus { phase: Some(phase), released_at });
    let name = claim.name_any();
    let attempt = format!("note that claim {name} is {phase:?}");
    match api.replace_status(&name, &PostParams::default(), &claim).await {
        // It was freed with its mesh.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        written => written.map(drop).map_err(Error::api(attempt)),
    }
}

async fn mesh_of(context: &Context, claim: &TunMeshAddress) -> Result<Option<TunMesh>, Error> {
    let mesh = &claim.spec.mesh;
    let api = Api::<TunMesh>::namespaced(context.client.clone(), &mesh.namespace);
    let found = api.get_opt(&mesh.name).await.map_err(Error::api(format!("read TunMesh {}", mesh.name)))?;
    Ok(found.filter(|found| found.uid().as_ref() == Some(&mesh.uid) && found.metadata.deletion_timestamp.is_none()))
}

/// Asks the API server, and no cache: a claim is given up on this.
async fn owner_of(context: &Context, claim: &TunMeshAddress) -> Result<Owner, Error> {
    let owner = &claim.spec.owner;
    let attempt = || Error::api(format!("read {:?} {}/{}", owner.kind, owner.namespace, owner.name));
    let client = || context.client.clone();
    let (is_there, member) = match owner.kind {
        OwnerKind::Pod => {
            let pod =
                Api::<Pod>::namespaced(client(), &owner.namespace).get_opt(&owner.name).await.map_err(attempt())?;
            let pod = pod.filter(|pod| pod.uid().as_ref() == Some(&owner.uid)).filter(|pod| !is_over(pod));
            (pod.is_some(), pod.and_then(|pod| pod.uid()).map(|uid| (owner.name.clone(), uid)))
        }
        OwnerKind::StatefulSet => {
            let sets = Api::<StatefulSet>::namespaced(client(), &owner.namespace);
            let set = sets.get_opt(&owner.name).await.map_err(attempt())?;
            if set.is_none_or(|set| set.uid().as_ref() != Some(&owner.uid)) {
                return Ok(Owner::Gone);
            }
            // Its pod has one address; of two claims of one place, the other is given up.
            let members = Api::<TunMeshMember>::namespaced(client(), &owner.namespace);
            let name = format!("{}-{}", owner.name, owner.ordinal.unwrap_or_default());
            let member = members.get_opt(&name).await.map_err(attempt())?;
            return Ok(member.map_or(Owner::Present, |member| has(&member, claim)));
        }
        OwnerKind::TunMeshMember => {
            let members = Api::<TunMeshMember>::namespaced(client(), &owner.namespace);
            let member = members.get_opt(&owner.name).await.map_err(attempt())?;
            return Ok(match member.filter(|member| member.uid().as_ref() == Some(&owner.uid)) {
                Some(member) => has(&member, claim),
                None => Owner::Gone,
            });
        }
    };
    let (true, Some((name, uid))) = (is_there, member) else {
        return Ok(if is_there { Owner::Present } else { Owner::Gone });
    };
    let members = Api::<TunMeshMember>::namespaced(client(), &owner.namespace);
    let member = members.get_opt(&name).await.map_err(attempt())?;
    let is_its = |member: &TunMeshMember| member.spec.pod.as_ref().is_some_and(|pod| pod.uid == uid);
    Ok(member.filter(is_its).map_or(Owner::Present, |member| has(&member, claim)))
}

/// A member has one address: of two claims of one owner, the other is given up.
fn has(member: &TunMeshMember, claim: &TunMeshAddress) -> Owner {
    match member.status.as_ref().and_then(|status| status.addresses.ipv4) {
        Some(address) if claim.spec.address != address => Owner::Gone,
        Some(_) | None => Owner::Present,
    }
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn phase(claim: &TunMeshAddress) -> Phase {
    let status = claim.status.clone().unwrap_or_default();
    let at = status.released_at.map_or(Duration::ZERO, |at| since_epoch(at.0));
    match status.phase {
        None | Some(AddressPhase::Claimed) => Phase::Claimed,
        Some(AddressPhase::Released) => Phase::Released { at },
        Some(AddressPhase::Quarantined) => Phase::Quarantined { at },
    }
}

/// Of a mesh that is gone nobody has certificates that anybody trusts: its addresses do not rest.
fn rules(settings: &Settings, claim: &TunMeshAddress, has_mesh: bool) -> Rules {
    let lifetime = if has_mesh { claim.spec.certificate_lifetime.duration() } else { Duration::ZERO };
    Rules { confirm: settings.confirm, quarantine: rest(lifetime, settings.quarantine) }
}

fn since_epoch(time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}

/// Age at which a claim is looked at first.
const FIRST_LOOK: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_secs(600);
