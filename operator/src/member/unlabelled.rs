use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use tunmesh_crds::names::MESH_LABEL;
use tunmesh_crds::{MemberPod, TunMeshMember};

use crate::context::Context;
use crate::error::Error;

/// Removes a member whose pod is still there and does not carry the label any more. The claim stays until the pod is gone,
/// which goes on using the address, and the Secret goes with the pod.
pub(super) async fn reconcile(member: &TunMeshMember, of: &MemberPod, context: &Context) -> Result<Action, Error> {
    let (namespace, name) = (member.namespace().unwrap_or_default(), member.name_any());
    let known = context.stores.pods.get(&ObjectRef::new(&of.name).within(&namespace));
    if known.is_some_and(|pod| pod.uid().as_ref() == Some(&of.uid)) {
        return Ok(Action::await_change());
    }
    // The watch shows pods with the label alone. With a pod that is gone goes its member.
    let pod = Api::<Pod>::namespaced(context.client.clone(), &namespace).get_metadata_opt(&of.name).await;
    let pod = pod.map_err(Error::api(format!("read Pod {namespace}/{}", of.name)))?;
    let pod = pod.filter(|pod| pod.uid().as_ref() == Some(&of.uid) && !pod.labels().contains_key(MESH_LABEL));
    let Some(pod) = pod else { return Ok(Action::await_change()) };
    let api = Api::<TunMeshMember>::namespaced(context.client.clone(), &namespace);
    let preconditions = Preconditions { uid: member.uid(), resource_version: None };
    match api.delete(&name, &DeleteParams::background().preconditions(preconditions)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
            return Ok(Action::await_change());
        }
        deleted => drop(deleted.map_err(Error::api(format!("delete TunMeshMember {namespace}/{name}")))?),
    }
    let material = member.status.as_ref().and_then(|status| status.material.as_ref());
    let ends = material.map(|material| format!(", which ends at {}", material.expires.0)).unwrap_or_default();
    let note = format!(
        "the label {MESH_LABEL} was taken off while the pod runs: it is no member of TunMesh {} any more. Its sidecar keeps \
         address and certificate{ends} and is not renewed. Delete the pod, or put the label back.",
        member.spec.mesh.name
    );
    context.tell(&pod.object_ref(&()), EventType::Warning, "LabelRemoved", "Remove", note).await;
    Ok(Action::await_change())
}
