use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Resource, ResourceExt};
use tunmesh_crds::names::{MANAGED_BY_LABEL, MANAGER, MESH_UID_LABEL};
use tunmesh_crds::{ExposureType, MeshReason, TunMesh};

use crate::conditions::Finding;
use crate::context::Context;
use crate::error::Error;
use crate::layout::{self, PORT};

use super::bootstrap::{Endpoint, service, slices};

/// Writes Services and slices, and removes slices that are too many. Answers whether it could, and where machines outside
/// the cluster reach the mesh.
pub(super) async fn publish(
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
    // Its name leads to one port; and a Service that the whole world reaches leads to pods only.
    let named: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.port == PORT).cloned().collect();
    let pods: Vec<_> = named.iter().filter(|endpoint| endpoint.pod.is_some()).cloned().collect();
    let of = |(service, kind): (&Service, &ExposureType)| {
        slices(mesh, &service.name_any(), if *kind == ExposureType::None { &named } else { &pods })
    };
    let slices: Vec<_> = services.iter().zip(&kinds).flat_map(of).collect();
    let text = serde_json::to_string(&(&services, &slices, &exposure.advertised_addresses, nodes)).unwrap_or_default();
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
    if exposure.kind == ExposureType::None {
        withdraw(&api, mesh).await?;
    }
    if let Some(finding) = publish_slices(context, mesh, &slices).await? {
        return Ok((finding, outside));
    }
    // A load balancer gets its address later, and nothing tells us.
    if exposure.kind == ExposureType::LoadBalancer && outside.is_empty() {
        return Ok((Finding::plain(MeshReason::Written), outside));
    }
    context.set_published(&uid, text, outside.clone());
    Ok((Finding::plain(MeshReason::Written), outside))
}

/// Removes the Service of an exposure that is over.
async fn withdraw(api: &Api<Service>, mesh: &TunMesh) -> Result<(), Error> {
    let name = layout::exposed_service(&mesh.name_any());
    let stored = api.get_metadata_opt(&name).await.map_err(Error::api(format!("read Service {name}")))?;
    let is_ours = |stored: &PartialObjectMeta<Service>| stored.labels().get(MESH_UID_LABEL) == mesh.uid().as_ref();
    let Some(stored) = stored.filter(is_ours) else { return Ok(()) };
    let params = DeleteParams::default().preconditions(Preconditions { uid: stored.uid(), resource_version: None });
    match api.delete(&name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map(drop).map_err(Error::api(format!("delete Service {name}"))),
    }
}

async fn publish_slices(
    context: &Context,
    mesh: &TunMesh,
    slices: &[EndpointSlice],
) -> Result<Option<Finding<MeshReason>>, Error> {
    let api = Api::<EndpointSlice>::namespaced(context.client.clone(), &mesh.namespace().unwrap_or_default());
    let ours = format!("{MANAGED_BY_LABEL}={MANAGER},{MESH_UID_LABEL}={}", mesh.uid().unwrap_or_default());
    let stored = api.list(&ListParams::default().labels(&ours)).await.map_err(Error::api("list EndpointSlices"))?;
    let mut refused = None;
    for slice in slices {
        let other = stored.items.iter().find(|stored| stored.name_any() == slice.name_any());
        let name = slice.name_any();
        if other.is_none()
            && api.get_metadata_opt(&name).await.map_err(Error::api(format!("read EndpointSlice {name}")))?.is_some()
        {
            let message = format!("EndpointSlice {name} is not of this TunMesh");
            refused = Some(Finding::new(MeshReason::NotOurs, message));
            continue;
        }
        // What cannot be changed in place is made anew.
        if let Some(other) = other.filter(|other| other.address_type != slice.address_type) {
            delete(&api, &other.name_any()).await?;
        }
        // One that is refused keeps no other from being written.
        if let Err(finding) = apply(&api, slice).await? {
            refused = Some(finding);
        }
    }
    for stored in stored.items.iter().filter(|stored| !slices.iter().any(|slice| slice.name_any() == stored.name_any()))
    {
        delete(&api, &stored.name_any()).await?;
    }
    Ok(refused)
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

/// The field manager of Services and slices.
const FIELD_MANAGER: &str = "tunmesh-operator";
/// Addresses that machines outside are told at most: as many as the spec can name.
const TOLD: usize = 16;
