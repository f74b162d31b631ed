//! Whether the mesh takes pods of a namespace.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use tunmesh_crds::{NamespacesFrom, TunMesh};

use super::{Refusal, Request};

/// Whether pods and outside members of `namespace`, which has these labels, may join `mesh`.
pub fn is_allowed(mesh: &TunMesh, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    check(mesh, namespace, labels).is_ok()
}

/// Whether the selector of `mesh` is one, which the API server does not look at.
pub fn has_sound_selector(mesh: &TunMesh) -> bool {
    Selector::try_from(mesh.spec.members.namespaces.selector.clone().unwrap_or_default()).is_ok()
}

pub(super) fn request(request: &Request<'_>) -> Result<(), Refusal> {
    let mesh = request.mesh;
    if mesh.metadata.deletion_timestamp.is_some() {
        return Err(Refusal::MeshEnding { namespace: mesh.namespace().unwrap_or_default(), name: mesh.name_any() });
    }
    check(mesh, request.namespace, request.namespace_labels)
}

fn check(mesh: &TunMesh, namespace: &str, labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let (scope, own) = (&mesh.spec.members.namespaces, mesh.namespace().unwrap_or_default());
    let full_name = format!("{own}/{}", mesh.name_any());
    let denied =
        |scope| Err(Refusal::NamespaceDenied { namespace: namespace.to_owned(), mesh: full_name.clone(), scope });
    match scope.from {
        NamespacesFrom::All => Ok(()),
        NamespacesFrom::Same if namespace == own => Ok(()),
        NamespacesFrom::Same => denied("from: Same".to_owned()),
        NamespacesFrom::Selector => {
            let Ok(selector) = Selector::try_from(scope.selector.clone().unwrap_or_default()) else {
                return Err(Refusal::SelectorInvalid { mesh: full_name });
            };
            if selector.matches(labels) {
                Ok(())
            } else {
                denied(format!("from: Selector, and its labels are not {selector}"))
            }
        }
    }
}
