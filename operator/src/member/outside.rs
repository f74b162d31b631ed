use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use tunmesh_crds::{AddressOwner, MemberReason, OwnerKind, Period, TunMesh, TunMeshMember, TunMeshMemberStatus};

use crate::conditions::{Finding, changed, conditions};
use crate::context::Context;
use crate::error::Error;
use crate::layout;

use super::config::Device;
use super::provide::{RESYNC, Wanted, provide};

/// Gives a machine outside the cluster its address and a Secret with all that its agent needs.
pub(super) async fn reconcile(member: Arc<TunMeshMember>, context: Arc<Context>) -> Result<Action, Error> {
    let Some(outside) = member.spec.outside.clone() else { return Ok(Action::await_change()) };
    if member.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = member.namespace().unwrap_or_default();
    let mesh_namespace = member.spec.mesh.namespace.as_ref().unwrap_or(&namespace);
    let mesh = context.stores.meshes.get(&ObjectRef::new(&member.spec.mesh.name).within(mesh_namespace));
    let Some(mesh) = mesh.filter(|mesh| mesh.metadata.deletion_timestamp.is_none()) else {
        let note = format!("there is no TunMesh {mesh_namespace}/{}", member.spec.mesh.name);
        return refuse(&context, &member, MemberReason::MeshNotFound, note).await;
    };
    if mesh.spec.paused && member.status.as_ref().is_none_or(|status| status.material.is_none()) {
        return Ok(Action::await_change());
    }
    if !context.takes(&mesh, &namespace) {
        let note = format!("TunMesh {mesh_namespace}/{} takes no members of namespace {namespace}", mesh.name_any());
        return refuse(&context, &member, MemberReason::NamespaceNotAllowed, note).await;
    }
    let status = seen(&context, &mesh, &member);
    let ready = if status.ready { MemberReason::Connected } else { MemberReason::Starting };
    let advertised = outside.advertised_address.clone();
    let address = advertised.as_deref().and_then(|host| host.parse().ok());
    if let Some(address) = address.filter(|address| !is_usable(&mesh, *address)) {
        let note = format!("spec.outside.advertisedAddress {address} cannot be the machine's");
        return refuse(&context, &member, MemberReason::AdvertisedAddressUnusable, note).await;
    }
    let endpoints = mesh.status.iter().flat_map(|status| &status.endpoints);
    let wanted = Wanted {
        about: member.object_ref(&()),
        owner: owner_reference(&member),
        address_owner: AddressOwner {
            kind: OwnerKind::TunMeshMember,
            namespace: namespace.clone(),
            name: member.name_any(),
            uid: member.uid().unwrap_or_default(),
            ordinal: None,
        },
        address: outside.address.map(|address| address.to_string()),
        claimed: None,
        secret_name: layout::outside_secret(&member.name_any()),
        names: advertised.clone().filter(|_| address.is_none()).into_iter().collect(),
        addresses: address.into_iter().collect(),
        host: advertised,
        port: outside.port.0,
        lifetime: lifetime(&mesh),
        device: Device::Own,
        log_level: mesh.spec.sidecar.log_level,
        bootstrap: endpoints.map(|endpoint| format!("https://{endpoint}")).collect(),
        peers: context.peers(&mesh.uid().unwrap_or_default(), &member.uid().unwrap_or_default()),
        status,
        findings: vec![Finding::plain(ready), Finding::plain(MemberReason::Current)],
        renew: false,
        look_again: RESYNC,
    };
    provide(&context, &mesh, member.as_ref().clone(), wanted).await
}

/// Nobody carries a renewed certificate to a machine outside the cluster, so it has one for longer; it ends with its
/// authority at the latest.
fn lifetime(mesh: &TunMesh) -> Period {
    LIFETIME.max(mesh.spec.trust.certificate_lifetime)
}

/// Whether members of the mesh know it: nobody else can tell.
fn seen(context: &Context, mesh: &TunMesh, member: &TunMeshMember) -> TunMeshMemberStatus {
    let before = member.status.clone().unwrap_or_default();
    let look = context.look(&mesh.uid().unwrap_or_default());
    let (Some(look), Some(address)) = (look, before.addresses.ipv4) else { return before };
    let ready = look.members.contains(&address);
    let last_seen = if ready == before.ready { before.last_seen.clone() } else { Some(Time(Timestamp::now())) };
    TunMeshMemberStatus { ready, last_seen, ..before }
}

/// A certificate must not name an address of the mesh that was not claimed, and Endpoints no machine of the nodes' own.
pub(crate) fn is_usable(mesh: &TunMesh, address: IpAddr) -> bool {
    let special = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    let networks = mesh.status.iter().flat_map(|status| &status.address_pools);
    let is_inside = networks.chain(&mesh.spec.address_pools).any(|network| network.contains(&address));
    !(special || is_inside || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

/// Says why a machine is no member, in its status and once in an event.
async fn refuse(
    context: &Context,
    member: &TunMeshMember,
    reason: MemberReason,
    note: String,
) -> Result<Action, Error> {
    let before = member.status.clone().unwrap_or_default();
    let findings = [Finding::new(reason, note.clone()), Finding::plain(MemberReason::NotProvided)];
    if changed(&findings, &before.conditions).next().is_none() {
        return Ok(Action::requeue(REFUSED_RETRY));
    }
    let info = reason.info();
    let note = format!("{note}. {}", info.action);
    context.tell(&member.object_ref(&()), EventType::Warning, info.reason, "Provide", note).await;
    let generation = member.metadata.generation;
    let conditions = conditions(&findings, &before.conditions, generation, Timestamp::now());
    let status = TunMeshMemberStatus { conditions, observed_generation: generation, ready: false, ..before };
    let (namespace, name) = (member.namespace().unwrap_or_default(), member.name_any());
    let api = Api::<TunMeshMember>::namespaced(context.client.clone(), &namespace);
    let member = TunMeshMember { status: Some(status), ..member.clone() };
    let attempt = format!("write the status of TunMeshMember {namespace}/{name}");
    api.replace_status(&name, &PostParams::default(), &member).await.map_err(Error::api(attempt))?;
    Ok(Action::requeue(REFUSED_RETRY))
}

fn owner_reference(member: &TunMeshMember) -> OwnerReference {
    OwnerReference { block_owner_deletion: Some(false), ..member.controller_owner_ref(&()).unwrap_or_default() }
}

/// Three months: time enough to carry the next one.
const LIFETIME: Period = Period::from_hours(90 * 24);
const REFUSED_RETRY: Duration = Duration::from_secs(30);
