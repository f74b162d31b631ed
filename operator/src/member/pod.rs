use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use tunmesh_crds::names::{MANAGED_BY_LABEL, MANAGER, MESH_LABEL, PodAnnotation};
use tunmesh_crds::{
    MemberCondition, MemberMesh, MemberPod, MemberReason, TunMesh, TunMeshMember, TunMeshMemberSpec,
    TunMeshMemberStatus,
};

use crate::conditions::{Finding, conditions};
use crate::context::Context;
use crate::error::Error;
use crate::inject;
use crate::labels::mesh_labels;
use crate::layout::{self, PORT};

use super::address::{Claimed, claim};
use super::config::Device;
use super::facts::PodFacts;
use super::provide::{RESYNC, Wanted, provide};

/// Makes a pod with the label a member: address, certificate, configuration.
pub(crate) async fn reconcile(pod: Arc<Pod>, context: Arc<Context>) -> Result<Action, Error> {
    let Some(facts) = PodFacts::of(&pod) else { return Ok(Action::await_change()) };
    if facts.over {
        return end(&context, &facts).await;
    }
    let mesh = context.stores.meshes.get(&facts.mesh());
    let Some(mesh) = mesh.filter(|mesh| mesh.metadata.deletion_timestamp.is_none()) else {
        let note = format!("there is no TunMesh {}/{}", facts.mesh.0, facts.mesh.1);
        return refuse(&context, &pod, MemberReason::MeshNotFound, note).await;
    };
    if !context.takes(&mesh, &facts.namespace) {
        let note = format!("TunMesh {}/{} takes no pods of namespace {}", facts.mesh.0, facts.mesh.1, facts.namespace);
        return refuse(&context, &pod, MemberReason::NamespaceNotAllowed, note).await;
    }
    let Some(secret_name) = facts.secret.clone() else {
        let note = "the pod has the label and no sidecar: it was made while no webhook was there".to_owned();
        return refuse(&context, &pod, MemberReason::SidecarAbsent, note).await;
    };
    let (member, claimed) = match known_member(&context, &facts) {
        Some(member) => (Ok(member), None),
        // Neither needs the other, and a pod waits for both.
        None => futures::try_join!(make_member(&context, &pod, &facts, &mesh), claim_early(&context, &mesh, &facts))?,
    };
    let member = match member {
        Ok(member) => member,
        Err(again) => return Ok(Action::requeue(again)),
    };
    if member.spec.mesh != mesh_of(&facts) {
        let note = format!("the label {MESH_LABEL} was changed after the pod was made");
        return refuse(&context, &pod, MemberReason::NotThePod, note).await;
    }
    // Of a paused mesh only what there is goes on: its certificates must not end.
    if mesh.spec.paused && member.status.as_ref().is_none_or(|status| status.material.is_none()) {
        return Ok(Action::await_change());
    }
    let wanted = Wanted { claimed, ..wanted(&context, &pod, &facts, &mesh, &member, secret_name) };
    provide(&context, &mesh, member, wanted).await
}

fn wanted(
    context: &Context,
    pod: &Pod,
    facts: &PodFacts,
    mesh: &TunMesh,
    member: &TunMeshMember,
    secret_name: String,
) -> Wanted {
    let before = member.status.clone().unwrap_or_default();
    let turned = facts.ready != before.ready;
    let status = TunMeshMemberStatus {
        endpoints: facts
            .addresses
            .iter()
            .map(|address| std::net::SocketAddr::new(*address, PORT).to_string())
            .collect(),
        node: facts.node.clone(),
        version: facts.version.clone().or_else(|| before.version.clone()),
        ready: facts.ready,
        last_seen: if turned { Some(Time(Timestamp::now())) } else { before.last_seen.clone() },
        ..before
    };
    let ready = match (facts.ready, facts.running) {
        (true, _) => MemberReason::Connected,
        (false, true) => MemberReason::AgentNotReady,
        (false, false) => MemberReason::Starting,
    };
    let template = inject::fingerprint_for(mesh, &context.settings.defaults, pod.annotations());
    let up_to_date =
        if facts.template.as_ref() == Some(&template) { MemberReason::Current } else { MemberReason::TemplateOutdated };
    let annotated = |annotation: PodAnnotation| pod.annotations().get(annotation.key()).map(String::as_str);
    let log_level = annotated(PodAnnotation::LogLevel).and_then(|level| serde_json::from_value(level.into()).ok());
    let material = status.material.is_some();
    Wanted {
        about: pod.object_ref(&()),
        owner: owner_reference(pod),
        address_owner: facts.owner.clone(),
        address: facts.wanted.clone(),
        claimed: None,
        secret_name,
        host: Some(UNKNOWN_HOST.to_owned()),
        port: PORT,
        addresses: facts.addresses.clone(),
        names: Vec::new(),
        lifetime: mesh.spec.trust.certificate_lifetime,
        device: if facts.uses_helper(mesh) { Device::Helper } else { Device::Own },
        log_level: log_level.unwrap_or(mesh.spec.sidecar.log_level),
        bootstrap: vec![bootstrap_url(mesh, &context.settings.cluster_domain)],
        peers: context.peers(&mesh.uid().unwrap_or_default(), &facts.uid),
        status,
        findings: vec![Finding::plain(ready), Finding::plain(up_to_date)],
        // A Secret that somebody deleted keeps the sidecar from starting; nobody watches Secrets.
        renew: material && !facts.running && is_stuck(pod),
        look_again: if facts.running { RESYNC } else { STUCK },
    }
}

fn known_member(context: &Context, facts: &PodFacts) -> Option<TunMeshMember> {
    let known = context.stores.members.get(&ObjectRef::new(&facts.name).within(&facts.namespace))?;
    is_its(facts, &known).then(|| known.as_ref().clone())
}

fn is_its(facts: &PodFacts, member: &TunMeshMember) -> bool {
    member.spec.pod.as_ref().is_some_and(|pod| pod.uid == facts.uid)
}

/// Claims the address of a pod while its member object is made.
async fn claim_early(context: &Context, mesh: &TunMesh, facts: &PodFacts) -> Result<Option<Claimed>, Error> {
    let has_networks = mesh.status.as_ref().is_some_and(|status| !status.address_pools.is_empty());
    if mesh.spec.paused || !has_networks {
        return Ok(None);
    }
    let lifetime = mesh.spec.trust.certificate_lifetime;
    claim(context, mesh, &facts.owner, facts.wanted.as_deref(), lifetime).await.map(Some)
}

/// Makes the member object of a pod; or, while one of its name is another's, says after how long to look again.
async fn make_member(
    context: &Context,
    pod: &Pod,
    facts: &PodFacts,
    mesh: &TunMesh,
) -> Result<Result<TunMeshMember, Duration>, Error> {
    let api = Api::<TunMeshMember>::namespaced(context.client.clone(), &facts.namespace);
    let attempt = || format!("make TunMeshMember {}/{}", facts.namespace, facts.name);
    match api.create(&PostParams::default(), &new_member(pod, facts, mesh)).await {
        Ok(member) => return Ok(Ok(member)),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(Error::api(attempt())(error)),
    }
    let Some(other) = api.get_opt(&facts.name).await.map_err(Error::api(attempt()))? else {
        return Ok(Err(OTHER_MEMBER_RETRY));
    };
    if is_its(facts, &other) {
        return Ok(Ok(other));
    }
    if other.spec.outside.is_some() {
        let note = format!("TunMeshMember {} is that of a machine outside the cluster: rename one of them", facts.name);
        let reason = MemberReason::NotThePod.info().reason;
        context.tell(&pod.object_ref(&()), EventType::Warning, reason, "Provide", note).await;
        return Ok(Err(REFUSED_RETRY));
    }
    // Of an earlier pod of this name: what belongs to that one ends with it.
    let preconditions = Preconditions { uid: other.uid(), resource_version: None };
    match api.delete(&facts.name, &DeleteParams::background().preconditions(preconditions)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
        deleted => drop(deleted.map_err(Error::api(attempt()))?),
    }
    Ok(Err(OTHER_MEMBER_RETRY))
}

fn mesh_of(facts: &PodFacts) -> MemberMesh {
    MemberMesh { name: facts.mesh.1.clone(), namespace: Some(facts.mesh.0.clone()) }
}

fn new_member(pod: &Pod, facts: &PodFacts, mesh: &TunMesh) -> TunMeshMember {
    let spec = TunMeshMemberSpec {
        mesh: mesh_of(facts),
        pod: Some(MemberPod { name: facts.name.clone(), uid: facts.uid.clone() }),
        outside: None,
    };
    let mut member = TunMeshMember::new(&facts.name, spec);
    let mut labels = mesh_labels(mesh);
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    member.metadata.labels = Some(labels);
    member.metadata.owner_references = Some(vec![owner_reference(pod)]);
    member
}

/// A pod that is over is no longer in the mesh. Address and objects go when it is deleted.
async fn end(context: &Context, facts: &PodFacts) -> Result<Action, Error> {
    let Some(mut member) = known_member(context, facts) else { return Ok(Action::await_change()) };
    let generation = member.metadata.generation;
    let Some(status) = member.status.as_mut().filter(|status| status.ready) else { return Ok(Action::await_change()) };
    status.ready = false;
    status.last_seen = Some(Time(Timestamp::now()));
    let ended = conditions(&[Finding::plain(MemberReason::Ended)], &status.conditions, generation, Timestamp::now());
    status.conditions.retain(|condition| condition.type_ != MemberCondition::Ready.as_str());
    status.conditions.splice(0..0, ended);
    let api = Api::<TunMeshMember>::namespaced(context.client.clone(), &facts.namespace);
    match api.replace_status(&facts.name, &PostParams::default(), &member).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        written => drop(written.map_err(Error::api(format!("write the status of TunMeshMember {}", facts.name)))?),
    }
    Ok(Action::await_change())
}

async fn refuse(context: &Context, pod: &Pod, reason: MemberReason, note: String) -> Result<Action, Error> {
    let info = reason.info();
    context.tell(&workload(pod), EventType::Warning, info.reason, "Provide", format!("{note}. {}", info.action)).await;
    Ok(Action::requeue(REFUSED_RETRY))
}

/// Whom people look at: what made the pod, or else the pod.
fn workload(pod: &Pod) -> ObjectReference {
    let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    owner.map_or_else(
        || pod.object_ref(&()),
        |owner| ObjectReference {
            api_version: Some(owner.api_version.clone()),
            kind: Some(owner.kind.clone()),
            name: Some(owner.name.clone()),
            namespace: pod.namespace(),
            uid: Some(owner.uid.clone()),
            ..ObjectReference::default()
        },
    )
}

fn is_stuck(pod: &Pod) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created.is_some_and(|created| Timestamp::now().duration_since(created).as_secs() > STUCK.as_secs().cast_signed())
}

fn owner_reference(pod: &Pod) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

/// Where the members of `mesh` are found. The name is whole and ends with a dot: while the Service has no endpoints, there is
/// no such name, and a resolver would try it with every domain of its search list and end up outside the cluster.
fn bootstrap_url(mesh: &TunMesh, cluster_domain: &str) -> String {
    let namespace = mesh.namespace().unwrap_or_default();
    format!("https://{}.{namespace}.svc.{cluster_domain}.:{PORT}", layout::service(&mesh.name_any()))
}

/// A pod's own address is not known when its file is written; the sidecar is told it (`--advertise-address`).
const UNKNOWN_HOST: &str = "pod.invalid";
const OTHER_MEMBER_RETRY: Duration = Duration::from_millis(200);
const REFUSED_RETRY: Duration = Duration::from_secs(30);
/// Age at which a pod whose sidecar does not start gets its Secret again.
const STUCK: Duration = Duration::from_secs(60);
