use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt};
use tunmesh_crds::names::{MANAGED_BY_LABEL, MANAGER, MESH_UID_LABEL};
use tunmesh_crds::{IssuerKind, MeshReason, TunMesh};

use crate::conditions::Finding;
use crate::context::Context;
use crate::error::Error;
use crate::labels::mesh_labels;
use crate::layout;
use crate::trust::{MeshName, MeshTrust};

/// Reads authority and secret of `mesh`, or makes them once. `Err` in the answer is why there are none.
///
/// The Secret has no owner: the garbage collector must not remove it with a mesh that somebody deletes by mistake and
/// whose finalizer still holds it; [`cleanup`](super::cleanup) removes it.
pub(super) async fn ensure(
    context: &Context,
    mesh: &TunMesh,
) -> Result<Result<Arc<MeshTrust>, Finding<MeshReason>>, Error> {
    if mesh.spec.trust.issuer.kind != IssuerKind::Internal {
        let message = "certificates of cert-manager issuers are not supported by this version";
        return Ok(Err(Finding::new(MeshReason::IssuerNotReady, message)));
    }
    let uid = mesh.uid().unwrap_or_default();
    if let Some(trust) = context.fresh_trust(&uid) {
        return Ok(Ok(trust));
    }
    let api = Api::<Secret>::namespaced(context.client.clone(), &mesh.namespace().unwrap_or_default());
    let name = layout::trust_secret(&mesh.name_any());
    let mut stored = api.get_opt(&name).await.map_err(Error::api(format!("read Secret {name}")))?;
    if stored.is_none() {
        if let Some(trust) = context.trust(&uid) {
            tracing::warn!(mesh = mesh.name_any(), "the Secret of the mesh is missing; it is written again as it was");
            stored = Some(write(&api, mesh, &name, &trust).await?);
        } else if mesh.status.as_ref().is_some_and(|status| status.trust.authority_expires.is_some()) {
            let message = format!("Secret {name} is missing: members have certificates of the authority that it held");
            return Ok(Err(Finding::new(MeshReason::SecretDamaged, message)));
        } else {
            let made = MeshTrust::generate(&name_of(mesh), &mesh.spec.trust, Timestamp::now());
            let trust = made.map_err(Error::trust("make an authority"))?;
            stored = Some(write(&api, mesh, &name, &trust).await?);
        }
    }
    let Some(stored) = stored else { return Ok(Err(Finding::plain(MeshReason::Issuing))) };
    if stored.labels().get(MESH_UID_LABEL) != Some(&uid) {
        let message = format!("Secret {name} is not of this TunMesh");
        return Ok(Err(Finding::new(MeshReason::SecretDamaged, message)));
    }
    match MeshTrust::from_secret(&stored.data.unwrap_or_default()) {
        Ok(trust) => {
            let trust = Arc::new(trust);
            context.set_trust(&uid, Some(trust.clone()));
            Ok(Ok(trust))
        }
        Err(error) => Ok(Err(Finding::new(MeshReason::SecretDamaged, format!("Secret {name}: {error}")))),
    }
}

/// Makes the Secret; if another operator was faster, that one's counts.
async fn write(api: &Api<Secret>, mesh: &TunMesh, name: &str, trust: &MeshTrust) -> Result<Secret, Error> {
    let mut labels = mesh_labels(mesh);
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    let data: BTreeMap<String, ByteString> = trust.to_secret_data();
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    let secret = Secret { metadata, data: Some(data), ..Secret::default() };
    match api.create(&PostParams::default(), &secret).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            api.get(name).await.map_err(Error::api(format!("read Secret {name}")))
        }
        created => created.map_err(Error::api(format!("write Secret {name}"))),
    }
}

fn name_of(mesh: &TunMesh) -> MeshName {
    MeshName { namespace: mesh.namespace().unwrap_or_default(), name: mesh.name_any() }
}
