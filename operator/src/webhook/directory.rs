use std::collections::BTreeMap;
use std::sync::Arc;

use tunmesh_crds::TunMesh;

/// What the webhook asks about the cluster. An answer may be some moments old, but not that there is none: before an
/// implementation that remembers says so, it asks the API server.
pub trait Directory: Send + Sync + 'static {
    /// The mesh of this name.
    fn mesh(
        &self,
        namespace: &str,
        name: &str,
    ) -> impl Future<Output = Result<Option<Arc<TunMesh>>, kube::Error>> + Send;

    /// Labels of a namespace; none for one that does not exist.
    fn namespace_labels(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<BTreeMap<String, String>, kube::Error>> + Send;
}
