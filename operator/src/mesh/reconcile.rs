use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tunmesh_crds::names::FINALIZER;
use tunmesh_crds::{AddressPhase, AddressUse, MeshReason, TrustStatus, TunMesh, TunMeshStatus, Verdict};

use crate::addresses::Pools;
use crate::conditions::{Finding, changed, conditions};
use crate::context::Context;
use crate::error::Error;
use crate::inject;

use super::cleanup::cleanup;
use super::members::Members;
use super::networks::{choose, overlap};
use super::publish::publish;
use super::status::{Observed, authority, findings, mtu, underlay};
use super::{surroundings, trust};

/// Makes a mesh as its spec says, as far as it is a matter of the whole: networks, authority, Service; and its status.
pub(crate) async fn reconcile(mesh: Arc<TunMesh>, context: Arc<Context>) -> Result<Action, Error> {
    if mesh.metadata.deletion_timestamp.is_some() {
        cleanup(&context, &mesh).await?;
        return Ok(Action::await_change());
    }
    if let Err(rest) = context.settle(&mesh.uid().unwrap_or_default()) {
        return Ok(Action::requeue(rest));
    }
    let mesh = hold(&context, &mesh).await?;
    let plan = Plan::of(&context, &mesh).await?;
    let again = if plan.observed.refused.is_some() { REFUSED_RETRY } else { RESYNC };
    plan.report(&context, &mesh).await?;
    Ok(Action::requeue(again))
}

/// With our finalizer.
async fn hold(context: &Context, mesh: &TunMesh) -> Result<TunMesh, Error> {
    if mesh.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(mesh.clone());
    }
    let mut finalizers = mesh.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    let patch = json!({"metadata": {"resourceVersion": mesh.resource_version(), "finalizers": finalizers}});
    let api = meshes(context, mesh);
    let attempt = format!("put a finalizer on TunMesh {}", mesh.name_any());
    api.patch(&mesh.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map_err(Error::api(attempt))
}

fn meshes(context: &Context, mesh: &TunMesh) -> Api<TunMesh> {
    Api::namespaced(context.client.clone(), &mesh.namespace().unwrap_or_default())
}

/// What was found and done, for the status.
struct Plan {
    observed: Observed,
    status: TunMeshStatus,
}

impl Plan {
    async fn of(context: &Context, mesh: &TunMesh) -> Result<Self, Error> {
        let before = mesh.status.clone().unwrap_or_default();
        // First what is there: certificates are renewed whatever else fails.
        let mut trust = None;
        if before.trust.authority_expires.is_some() {
            trust = Some(trust::ensure(context, mesh).await?);
        }
        let surroundings = surroundings::current(context).await?;
        let mut occupied = surroundings.occupied.clone();
        occupied.extend(surroundings::of_other_meshes(mesh, &context.stores.meshes.state()));
        let recorded = &before.address_pools;
        let chosen = choose(&mesh.spec.address_pools, recorded, &mesh.uid().unwrap_or_default(), &occupied);
        let (networks, mut refused) = match chosen {
            Ok(networks) => (networks, None),
            Err(refused) => (recorded.clone(), Some(Finding::new(refused.reason, refused.message))),
        };
        if !inject::has_sound_selector(mesh) {
            refused = Some(Finding::plain(MeshReason::SelectorInvalid));
        }
        let overlap = recorded.iter().find_map(|network| {
            overlap(network, &occupied).map(|other| format!("{network} overlaps {} ({})", other.network, other.by))
        });
        let members = Members::of(context, mesh, &surroundings.helpers);
        context.set_running(&mesh.uid().unwrap_or_default(), members.running());
        let now = Timestamp::now();
        // A mesh that works goes on with what it has while its spec cannot be carried out.
        let may_write = !networks.is_empty() && !mesh.spec.paused;
        let (mut trust_finding, mut trust_status) = (Finding::plain(MeshReason::Issuing), before.trust.clone());
        let mut endpoints = before.endpoints.clone();
        let mut programmed = Finding::plain(MeshReason::Paused);
        if may_write && trust.is_none() {
            trust = Some(trust::ensure(context, mesh).await?);
        }
        match trust {
            Some(Ok(trust)) => {
                let lifetime = mesh.spec.trust.certificate_lifetime.duration();
                trust_finding = authority(trust.authority_expires(), now, lifetime);
                trust_status = TrustStatus {
                    authority_expires: Some(whole(trust.authority_expires())),
                    authority_rotated: Some(whole(trust.authority_created())),
                    cluster_secret_rotated: Some(whole(trust.cluster_secret_created())),
                };
            }
            Some(Err(finding)) => trust_finding = finding,
            None => {}
        }
        if may_write {
            (programmed, endpoints) = publish(context, mesh, &members.endpoints, &surroundings.nodes).await?;
        }
        if refused.is_some() {
            programmed = Finding::plain(MeshReason::NotAccepted);
        }
        let look = context.look(&mesh.uid().unwrap_or_default());
        let largest_packet = look.and_then(|look| look.largest_packet);
        let mtu = mtu(mesh.spec.mtu, before.mtu, largest_packet);
        let status = TunMeshStatus {
            observed_generation: mesh.metadata.generation,
            conditions: before.conditions,
            addresses: use_of(context, mesh, &Pools::new(&networks)),
            address_pools: networks,
            members: members.counts.clone(),
            trust: trust_status,
            mtu: Some(mtu),
            endpoints,
        };
        let observed = Observed {
            refused,
            programmed,
            trust: trust_finding,
            addresses: status.addresses.clone(),
            without_address: members.without_address,
            overlap,
            members: members.counts,
            webhook: surroundings.webhook,
            without_sidecar: members.without_sidecar,
            outdated: members.outdated,
            without_helper: members.without_helper,
            mtu: underlay(mtu, largest_packet),
        };
        Ok(Self { observed, status })
    }

    /// Writes the status if it changed, and tells people what did.
    async fn report(self, context: &Context, mesh: &TunMesh) -> Result<(), Error> {
        let (namespace, name) = (mesh.namespace().unwrap_or_default(), mesh.name_any());
        let mut status = self.status;
        let findings = findings(&self.observed);
        let before = std::mem::take(&mut status.conditions);
        for finding in changed(&findings, &before) {
            let info = finding.reason.info();
            // What holds up the mesh as a whole is said by the condition that names it.
            if PASSING.contains(&finding.reason) {
                continue;
            }
            let kind = match info.verdict {
                Verdict::False => EventType::Warning,
                Verdict::True => EventType::Normal,
                Verdict::Unknown => continue,
            };
            let note = format!("{} {} {}", finding.message, info.meaning, info.action);
            context.tell(&mesh.object_ref(&()), kind, info.reason, "Reconcile", note.trim().to_owned()).await;
        }
        status.conditions = conditions(&findings, &before, mesh.metadata.generation, Timestamp::now());
        context.metrics.mesh(&namespace, &name, &status);
        if mesh.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let changed = TunMesh { status: Some(status), ..mesh.clone() };
        let attempt = format!("write the status of TunMesh {namespace}/{name}");
        let written = meshes(context, mesh).replace_status(&name, &PostParams::default(), &changed).await;
        written.map(drop).map_err(Error::api(attempt))
    }
}

fn use_of(context: &Context, mesh: &TunMesh, pools: &Pools) -> AddressUse {
    let uid = mesh.uid().unwrap_or_default();
    let claims = context.stores.claims.state_filter(|claim| claim.spec.mesh.uid == uid);
    let resting = claims.iter().filter(|claim| {
        let phase = claim.status.as_ref().and_then(|status| status.phase);
        matches!(phase, Some(AddressPhase::Released | AddressPhase::Quarantined))
    });
    let quarantined = u32::try_from(resting.count()).unwrap_or(u32::MAX);
    let all = u32::try_from(claims.len()).unwrap_or(u32::MAX);
    let capacity = u32::try_from(pools.capacity()).unwrap_or(u32::MAX);
    AddressUse { capacity, used: all.saturating_sub(quarantined), quarantined }
}

/// In whole seconds, as the API server keeps it.
fn whole(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// What no event tells: it is so at every start, or another event says why.
const PASSING: [MeshReason; 2] = [MeshReason::MembersWaiting, MeshReason::Degraded];
const REFUSED_RETRY: Duration = Duration::from_secs(30);
const RESYNC: Duration = Duration::from_secs(60);
