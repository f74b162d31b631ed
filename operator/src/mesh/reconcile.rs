use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tunmesh_crds::names::{FINALIZER, MANAGED_BY_LABEL, MANAGER, MESH_UID_LABEL};
use tunmesh_crds::{
    AddressPhase, AddressUse, ExposureType, MemberCounts, MeshReason, TrustStatus, TunMesh, TunMeshStatus, TunMode,
    Verdict,
};

use crate::addresses::Pools;
use crate::conditions::{Finding, changed, conditions};
use crate::context::Context;
use crate::error::Error;
use crate::inject;
use crate::layout::{self, PORT};
use crate::member::PodFacts;

use super::bootstrap::{Endpoint, service, slices};
use super::cleanup::cleanup;
use super::networks::{choose, overlap};
use super::status::{Observed, authority, findings, mtu, underlay};
use super::{surroundings, trust};

/// Makes a mesh as its spec says, as far as it is a matter of the whole: networks, authority, Service; and its status.
pub(crate) async fn reconcile(mesh: Arc<TunMesh>, context: Arc<Context>) -> Result<Action, Error> {
    if mesh.metadata.deletion_timestamp.is_some() {
        cleanup(&context, &mesh).await?;
        return Ok(Action::await_change());
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
        let surroundings = context.surroundings().await?;
        let mut occupied = surroundings.occupied.clone();
        occupied.extend(surroundings::of_other_meshes(mesh, &context.stores.meshes.state()));
        let before = mesh.status.clone().unwrap_or_default();
        let recorded = &before.address_pools;
        let chosen = choose(&mesh.spec.address_pools, recorded, &mesh.uid().unwrap_or_default(), &occupied);
        let (networks, refused) = match chosen {
            Ok(networks) => (networks, None),
            Err(refused) => (recorded.clone(), Some(Finding::new(refused.reason, refused.message))),
        };
        let overlap = recorded.iter().find_map(|network| {
            overlap(network, &occupied).map(|other| format!("{network} overlaps {} ({})", other.network, other.by))
        });
        let members = Members::of(context, mesh, &surroundings.helpers);
        context.set_running(&mesh.uid().unwrap_or_default(), members.running());
        let now = Timestamp::now();
        let may_write = refused.is_none() && !mesh.spec.paused;
        let (mut trust_finding, mut trust_status) = (Finding::plain(MeshReason::Issuing), before.trust.clone());
        let mut endpoints = before.endpoints.clone();
        let mut programmed = Finding::plain(MeshReason::NotAccepted);
        if mesh.spec.paused {
            programmed = Finding::plain(MeshReason::Paused);
        }
        if may_write || mesh.spec.paused {
            match trust::ensure(context, mesh).await? {
                Ok(trust) => {
                    let lifetime = mesh.spec.trust.certificate_lifetime.duration();
                    trust_finding = authority(trust.authority_expires(), now, lifetime);
                    trust_status = TrustStatus {
                        authority_expires: Some(Time(trust.authority_expires())),
                        authority_rotated: Some(Time(trust.authority_created())),
                        cluster_secret_rotated: Some(Time(trust.cluster_secret_created())),
                    };
                }
                Err(finding) => trust_finding = finding,
            }
        }
        if may_write {
            (programmed, endpoints) = publish(context, mesh, &members.endpoints, &surroundings.nodes).await?;
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

/// The pods and machines of one mesh.
struct Members {
    counts: MemberCounts,
    endpoints: Vec<Endpoint>,
    without_address: usize,
    without_sidecar: BTreeSet<String>,
    outdated: BTreeSet<String>,
    without_helper: BTreeSet<String>,
}

impl Members {
    fn of(context: &Context, mesh: &TunMesh, helpers: &BTreeSet<String>) -> Self {
        let mut found = Self {
            counts: MemberCounts::default(),
            endpoints: Vec::new(),
            without_address: 0,
            without_sidecar: BTreeSet::new(),
            outdated: BTreeSet::new(),
            without_helper: BTreeSet::new(),
        };
        let key = (mesh.namespace().unwrap_or_default(), mesh.name_any());
        for pod in context.stores.pods.state() {
            let Some(facts) = PodFacts::of(&pod).filter(|facts| facts.mesh == key && !facts.over) else { continue };
            found.pod(context, mesh, &pod, &facts, helpers);
        }
        for member in context.stores.members.state() {
            let own = member.namespace().unwrap_or_default();
            let mesh_namespace = member.spec.mesh.namespace.as_ref().unwrap_or(&own);
            if (mesh_namespace, &member.spec.mesh.name) == (&key.0, &key.1) {
                found.member(&member);
            }
        }
        found
    }

    fn pod(&mut self, context: &Context, mesh: &TunMesh, pod: &Pod, facts: &PodFacts, helpers: &BTreeSet<String>) {
        self.counts.total += 1;
        let template = inject::fingerprint_for(mesh, &context.settings.defaults, pod.annotations());
        let workload = || facts.workload.clone();
        if facts.secret.is_none() {
            self.without_sidecar.insert(workload());
        } else if facts.template.as_ref() != Some(&template) {
            self.outdated.insert(workload());
        }
        self.counts.drifted += u32::from(facts.secret.is_none() || facts.template.as_ref() != Some(&template));
        self.counts.ready += u32::from(facts.ready);
        self.counts.waiting += u32::from(!facts.ready);
        if facts.running {
            let pod = Some((facts.namespace.clone(), facts.name.clone()));
            let of = |address: &std::net::IpAddr| Endpoint {
                uid: facts.uid.clone(),
                pod: pod.clone(),
                address: *address,
                port: PORT,
                node: facts.node.clone(),
            };
            self.endpoints.extend(facts.addresses.iter().map(of));
        }
        if let Some(node) = facts.node.as_ref().filter(|node| !facts.ready && mesh.spec.sidecar.tun == TunMode::NodeHelper && !helpers.contains(*node)) {
            self.without_helper.insert(node.clone());
        }
    }

    fn member(&mut self, member: &tunmesh_crds::TunMeshMember) {
        let status = member.status.clone().unwrap_or_default();
        let waits = |reason: &str| status.conditions.iter().any(|condition| condition.reason == reason);
        self.without_address += usize::from(waits("PoolExhausted"));
        let Some(outside) = &member.spec.outside else { return };
        self.counts.total += 1;
        self.counts.ready += u32::from(status.ready);
        self.counts.waiting += u32::from(status.material.is_none());
        let address = outside.advertised_address.as_ref().and_then(|host| host.parse().ok());
        if let Some(address) = address {
            let uid = member.uid().unwrap_or_default();
            self.endpoints.push(Endpoint { uid, pod: None, address, port: outside.port.0, node: None });
        }
    }

    /// URLs of some of those that run.
    fn running(&self) -> Vec<(String, String)> {
        let url = |endpoint: &Endpoint| {
            (endpoint.uid.clone(), format!("https://{}", std::net::SocketAddr::new(endpoint.address, endpoint.port)))
        };
        self.endpoints.iter().take(RUNNING).map(url).collect()
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

/// Writes Services and slices, and removes slices that are too many. Answers whether it could, and where machines outside
/// the cluster reach the mesh.
async fn publish(
    context: &Context,
    mesh: &TunMesh,
    endpoints: &[Endpoint],
    nodes: &[String],
) -> Result<(Finding<MeshReason>, Vec<String>), Error> {
    let exposure = &mesh.spec.exposure;
    let mut kinds = vec![ExposureType::None];
    if exposure.kind != ExposureType::None {
        kinds.push(exposure.kind);
    }
    let services: Vec<_> = kinds.iter().map(|kind| service(mesh, *kind)).collect();
    let slices: Vec<_> = services.iter().flat_map(|service| slices(mesh, &service.name_any(), endpoints)).collect();
    let text = serde_json::to_string(&(&services, &slices)).unwrap_or_default();
    let uid = mesh.uid().unwrap_or_default();
    if let Some(outside) = context.published(&uid, &text) {
        return Ok((Finding::plain(MeshReason::Written), outside));
    }
    let namespace = mesh.namespace().unwrap_or_default();
    let api = Api::<Service>::namespaced(context.client.clone(), &namespace);
    let mut outside = Vec::new();
    for service in &services {
        let name = service.name_any();
        let stored = api.get_opt(&name).await.map_err(Error::api(format!("read Service {name}")))?;
        if stored.as_ref().is_some_and(|stored| stored.labels().get(MESH_UID_LABEL) != Some(&uid)) {
            let message = format!("Service {namespace}/{name} is not of this TunMesh");
            return Ok((Finding::new(MeshReason::NotOurs, message), outside));
        }
        match apply(&api, service).await? {
            Ok(applied) => outside.extend(reached_at(mesh, &applied, nodes)),
            Err(finding) => return Ok((finding, outside)),
        }
    }
    if let Some(finding) = publish_slices(context, mesh, &slices).await? {
        return Ok((finding, outside));
    }
    context.set_published(&uid, text, outside.clone());
    Ok((Finding::plain(MeshReason::Written), outside))
}

async fn publish_slices(
    context: &Context,
    mesh: &TunMesh,
    slices: &[EndpointSlice],
) -> Result<Option<Finding<MeshReason>>, Error> {
    let api = Api::<EndpointSlice>::namespaced(context.client.clone(), &mesh.namespace().unwrap_or_default());
    let ours = format!("{MANAGED_BY_LABEL}={MANAGER},{MESH_UID_LABEL}={}", mesh.uid().unwrap_or_default());
    let stored = api.list(&ListParams::default().labels(&ours)).await.map_err(Error::api("list EndpointSlices"))?;
    for slice in slices {
        // What cannot be changed in place is made anew.
        let other = stored.items.iter().find(|stored| stored.name_any() == slice.name_any());
        if let Some(other) = other.filter(|other| other.address_type != slice.address_type) {
            delete(&api, &other.name_any()).await?;
        }
        if let Err(finding) = apply(&api, slice).await? {
            return Ok(Some(finding));
        }
    }
    for stored in stored.items.iter().filter(|stored| !slices.iter().any(|slice| slice.name_any() == stored.name_any())) {
        delete(&api, &stored.name_any()).await?;
    }
    Ok(None)
}

async fn delete(api: &Api<EndpointSlice>, name: &str) -> Result<(), Error> {
    match api.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map(drop).map_err(Error::api(format!("delete EndpointSlice {name}"))),
    }
}

/// Applies an object; the finding is that the API server does not take it.
async fn apply<K>(api: &Api<K>, object: &K) -> Result<Result<K, Finding<MeshReason>>, Error>
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned + Resource<DynamicType = ()>,
{
    let (name, kind) = (object.name_any(), K::kind(&()));
    match api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await {
        Ok(applied) => Ok(Ok(applied)),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
            Ok(Err(Finding::new(MeshReason::WriteFailed, format!("{kind} {name}: {}", status.message))))
        }
        Err(error) => Err(Error::api(format!("apply {kind} {name}"))(error)),
    }
}

/// Where machines outside the cluster reach the members behind `service`, as host:port.
fn reached_at(mesh: &TunMesh, service: &Service, nodes: &[String]) -> Vec<String> {
    let told = &mesh.spec.exposure.advertised_addresses;
    let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let balanced: Vec<String> =
        ingress.into_iter().flatten().filter_map(|one| one.ip.clone().or_else(|| one.hostname.clone())).collect();
    let port = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()?.first()?.node_port);
    let (hosts, port) = match mesh.spec.exposure.kind {
        ExposureType::None => return Vec::new(),
        _ if service.name_any() != layout::exposed_service(&mesh.name_any()) => return Vec::new(),
        ExposureType::NodePort => (if told.is_empty() { nodes } else { told }, port.unwrap_or_default()),
        ExposureType::LoadBalancer => (if told.is_empty() { &balanced[..] } else { told }, i32::from(PORT)),
    };
    let host = |host: &String| if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    hosts.iter().take(TOLD).map(host).collect()
}

/// What no event tells: it is so at every start, or another event says why.
const PASSING: [MeshReason; 2] = [MeshReason::MembersWaiting, MeshReason::Degraded];
/// The field manager of Services and slices.
const FIELD_MANAGER: &str = "tunmesh-operator";
/// Addresses that machines outside are told at most.
const TOLD: usize = 8;
/// Members that others may be told of in their files.
const RUNNING: usize = 64;
const REFUSED_RETRY: Duration = Duration::from_secs(30);
const RESYNC: Duration = Duration::from_secs(60);
