use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tunmesh_crds::names::{
    MESH_LABEL, MESH_NAMESPACE_LABEL, PodAnnotation, SECRET_ANNOTATION, SIDECAR, TEMPLATE_ANNOTATION,
};
use tunmesh_crds::{AddressOwner, OwnerKind, TunMesh, TunMode};

/// What the operator needs to know of a pod with the label of a mesh.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Namespace and name of the mesh.
    pub mesh: (String, String),
    /// Whose its address is: its own, or its place's in a `StatefulSet`.
    pub owner: AddressOwner,
    /// What made it, as `Kind/name`, or else the pod itself.
    pub workload: String,
    /// The address it asks for, as it is written.
    pub wanted: Option<String>,
    /// Where it says that its device comes from.
    pub tun: Option<String>,
    /// The Secret that its sidecar waits for; `None` of a pod that the webhook did not see.
    pub secret: Option<String>,
    /// Fingerprint of the template of its sidecar.
    pub template: Option<String>,
    /// The node it runs on.
    pub node: Option<String>,
    /// Its own addresses, outside the mesh.
    pub addresses: Vec<IpAddr>,
    /// Version of its sidecar: the tag of the image.
    pub version: Option<String>,
    /// Whether its sidecar runs.
    pub running: bool,
    /// Whether its sidecar is ready.
    pub ready: bool,
    /// Whether it is over: all containers ended, or it is being deleted.
    pub over: bool,
}

impl PodFacts {
    /// Of a pod as the API server has it; `None` without label, namespace or UID.
    pub fn of(pod: &Pod) -> Option<Self> {
        let (namespace, name, uid) = (pod.namespace()?, pod.name_any(), pod.uid()?);
        let mesh_namespace = pod.labels().get(MESH_NAMESPACE_LABEL).cloned().unwrap_or_else(|| namespace.clone());
        let mesh = (mesh_namespace, pod.labels().get(MESH_LABEL)?.clone());
        let status = pod.status.as_ref();
        let sidecar = status.and_then(|status| sidecar(status.init_container_statuses.as_deref().unwrap_or_default()));
        let phase = status.and_then(|status| status.phase.as_deref());
        let addresses = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
        let annotation = |key: &str| pod.annotations().get(key).cloned();
        Some(Self {
            owner: owner(pod, &namespace, &name, &uid),
            workload: workload(pod, &name),
            wanted: annotation(PodAnnotation::Address.key()),
            tun: annotation(PodAnnotation::Tun.key()),
            secret: annotation(SECRET_ANNOTATION),
            template: annotation(TEMPLATE_ANNOTATION),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            addresses: addresses.filter_map(|address| address.ip.parse().ok()).collect(),
            version: sidecar.and_then(|status| tag(&status.image)),
            running: sidecar.is_some_and(|status| status.state.as_ref().is_some_and(|state| state.running.is_some())),
            ready: sidecar.is_some_and(|status| status.ready),
            over: pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed")),
            namespace,
            name,
            uid,
            mesh,
        })
    }

    /// Whether its device comes from the node helper, in this mesh.
    pub fn uses_helper(&self, mesh: &TunMesh) -> bool {
        self.tun.as_ref().map_or(mesh.spec.sidecar.tun == TunMode::NodeHelper, |tun| tun == "NodeHelper")
    }

    /// Its mesh.
    pub fn mesh(&self) -> ObjectRef<TunMesh> {
        ObjectRef::new(&self.mesh.1).within(&self.mesh.0)
    }
}

fn sidecar(statuses: &[ContainerStatus]) -> Option<&ContainerStatus> {
    statuses.iter().find(|status| status.name == SIDECAR)
}

/// `0.1.0` of `registry:5000/agent:0.1.0`; an image may be named by digest alone.
fn tag(image: &str) -> Option<String> {
    let last = image.split('@').next()?.rsplit('/').next()?;
    last.split_once(':').map(|(_, tag)| tag.to_owned())
}

fn workload(pod: &Pod, name: &str) -> String {
    let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    owner.map_or_else(|| format!("Pod/{name}"), |owner| format!("{}/{}", owner.kind, owner.name))
}

/// A pod of a `StatefulSet` has the address of its ordinal, which stays while the pods change.
fn owner(pod: &Pod, namespace: &str, name: &str, uid: &str) -> AddressOwner {
    let set = pod.owner_references().iter().find(|owner| is_stateful_set(owner));
    let suffix = set.and_then(|set| name.strip_prefix(&set.name)?.strip_prefix('-'));
    // As the controller writes it: `db-00` is another pod than `db-0`.
    let ordinal = suffix.and_then(|suffix| suffix.parse::<u32>().ok().filter(|ordinal| ordinal.to_string() == suffix));
    let namespace = namespace.to_owned();
    match (set, ordinal) {
        (Some(set), Some(ordinal)) => AddressOwner {
            kind: OwnerKind::StatefulSet,
            namespace,
            name: set.name.clone(),
            uid: set.uid.clone(),
            ordinal: Some(ordinal),
        },
        (_, _) => {
            AddressOwner { kind: OwnerKind::Pod, namespace, name: name.to_owned(), uid: uid.to_owned(), ordinal: None }
        }
    }
}

fn is_stateful_set(owner: &OwnerReference) -> bool {
    owner.controller == Some(true) && owner.kind == "StatefulSet" && owner.api_version.starts_with("apps/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_tag_of_the_image() {
        let cases = [
            ("registry:5000/team/agent:0.1.0", Some("0.1.0")),
            ("agent:1@sha256:ab", Some("1")),
            ("registry:5000/agent", None),
            ("agent@sha256:ab", None),
        ];
        for (image, version) in cases {
            assert_eq!(tag(image).as_deref(), version, "{image}");
        }
    }
}
