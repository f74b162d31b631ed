//! Labels of what the operator makes.

use std::collections::BTreeMap;

use kube::ResourceExt;
use tunmesh_crds::TunMesh;
use tunmesh_crds::names::{MESH_LABEL, MESH_NAMESPACE_LABEL, MESH_UID_LABEL};

/// Labels of everything that is made for `mesh`.
pub(crate) fn mesh_labels(mesh: &TunMesh) -> BTreeMap<String, String> {
    [
        (MESH_LABEL, mesh.name_any()),
        (MESH_NAMESPACE_LABEL, mesh.namespace().unwrap_or_default()),
        (MESH_UID_LABEL, mesh.uid().unwrap_or_default()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
