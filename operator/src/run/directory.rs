use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tunmesh_crds::TunMesh;

use crate::context::Context;
use crate::webhook::Directory;

/// What the webhook asks for: from the caches, and from the API server what they do not have yet.
pub(super) struct Cached {
    context: Arc<Context>,
    called: watch::Sender<()>,
}

impl Cached {
    /// It changes `called` whenever the webhook is called.
    pub(super) const fn new(context: Arc<Context>, called: watch::Sender<()>) -> Self {
        Self { context, called }
    }
}

impl Directory for Cached {
    async fn mesh(&self, namespace: &str, name: &str) -> Result<Option<Arc<TunMesh>>, kube::Error> {
        // The webhook asks this about every pod that it is called for.
        self.called.send_replace(());
        if let Some(mesh) = self.context.stores.meshes.get(&ObjectRef::new(name).within(namespace)) {
            return Ok(Some(mesh));
        }
        let api = Api::<TunMesh>::namespaced(self.context.client.clone(), namespace);
        Ok(api.get_opt(name).await?.map(Arc::new))
    }

    async fn namespace_labels(&self, name: &str) -> Result<BTreeMap<String, String>, kube::Error> {
        if let Some(namespace) = self.context.stores.namespaces.get(&ObjectRef::new(name)) {
            return Ok(namespace.labels().clone());
        }
        let found = Api::<Namespace>::all(self.context.client.clone()).get_metadata_opt(name).await?;
        Ok(found.map(|namespace| namespace.labels().clone()).unwrap_or_default())
    }
}
