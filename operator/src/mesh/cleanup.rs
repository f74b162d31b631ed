use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tunmesh_crds::names::{FINALIZER, MANAGED_BY_LABEL, MANAGER, MESH_UID_LABEL};
use tunmesh_crds::{TunMesh, TunMeshMember};

use crate::claims;
use crate::context::Context;
use crate::error::Error;
use crate::layout;

/// Removes what was made for `mesh`, then lets go of it. Pods run on; their sidecars keep what they have read.
///
/// Service and slices go with the mesh, as it owns them. Of what was made meanwhile, claims are found by their review, and
/// members and Secrets go with their pods.
pub(super) async fn cleanup(context: &Context, mesh: &TunMesh) -> Result<(), Error> {
    if !mesh.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(());
    }
    let uid = mesh.uid().unwrap_or_default();
    for member in members(context, mesh) {
        let namespace = member.namespace().unwrap_or_default();
        if let Some(secret) = member.status.as_ref().and_then(|status| status.secret_name.as_ref()) {
            remove_secret(context, &namespace, secret, &uid).await?;
        }
        if member.spec.pod.is_some() {
            let api = Api::<TunMeshMember>::namespaced(context.client.clone(), &namespace);
            remove(&api, &member.name_any(), member.uid()).await?;
        }
    }
    let is_its = |claim: &tunmesh_crds::TunMeshAddress| claim.spec.mesh.uid == uid;
    for claim in context.stores.claims.state_filter(is_its) {
        claims::free(context, &claim).await?;
    }
    let (namespace, name) = (mesh.namespace().unwrap_or_default(), mesh.name_any());
    remove_secret(context, &namespace, &layout::trust_secret(&name), &uid).await?;
    let kept: Vec<_> = mesh.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
    let patch = json!({"metadata": {"resourceVersion": mesh.resource_version(), "finalizers": kept}});
    let api = Api::<TunMesh>::namespaced(context.client.clone(), &namespace);
    match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        patched => drop(patched.map_err(Error::api(format!("let go of TunMesh {namespace}/{name}")))?),
    }
    context.metrics.forget(&namespace, &name);
    context.forget(&uid);
    Ok(())
}

fn members(context: &Context, mesh: &TunMesh) -> Vec<std::sync::Arc<TunMeshMember>> {
    let (namespace, name) = (mesh.namespace(), mesh.name_any());
    context.stores.members.state_filter(|member| {
        let own = member.namespace();
        member.spec.mesh.name == name && member.spec.mesh.namespace.as_ref().or(own.as_ref()) == namespace.as_ref()
    })
}

/// Deletes a Secret that was made for this mesh, and no other.
async fn remove_secret(context: &Context, namespace: &str, name: &str, mesh_uid: &str) -> Result<(), Error> {
    let api = Api::<Secret>::namespaced(context.client.clone(), namespace);
    let stored = api.get_metadata_opt(name).await.map_err(Error::api(format!("read Secret {namespace}/{name}")))?;
    let label = |key: &str| stored.as_ref().and_then(|secret| secret.labels().get(key).cloned());
    if label(MANAGED_BY_LABEL).as_deref() == Some(MANAGER) && label(MESH_UID_LABEL).as_deref() == Some(mesh_uid) {
        remove(&api, name, stored.and_then(|secret| secret.uid())).await?;
    }
    Ok(())
}

async fn remove<K>(api: &Api<K>, name: &str, uid: Option<String>) -> Result<(), Error>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + Resource<DynamicType = ()>,
{
    let params = DeleteParams::background().preconditions(Preconditions { uid, resource_version: None });
    match api.delete(name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        deleted => deleted.map(drop).map_err(Error::api(format!("delete {} {name}", K::kind(&())))),
    }
}
