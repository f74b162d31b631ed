use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use tunmesh_crds::names::{MESH_LABEL, MESH_NAMESPACE_LABEL};
use tunmesh_crds::{MemberPod, TunMesh, TunMeshAddress, TunMeshMember};

use crate::context::Stores;
use crate::hub::Change;
use crate::member::PodFacts;

use super::queues::Queues;

/// Whom a change concerns.
pub(super) struct Routes {
    queues: Queues,
    pods: Store<Pod>,
    members: Store<TunMeshMember>,
    claims: Store<TunMeshAddress>,
    /// By UID of a mesh: what its members depend on.
    seen: Mutex<HashMap<String, String>>,
}

impl Routes {
    pub(super) fn new(queues: Queues, stores: &Stores) -> Self {
        let (pods, members, claims) = (stores.pods.clone(), stores.members.clone(), stores.claims.clone());
        Self { queues, pods, members, claims, seen: Mutex::default() }
    }

    /// A mesh concerns itself, and its members if what they depend on changed.
    pub(super) fn mesh(&self, change: &Change<'_, TunMesh>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Applied(mesh) => {
                self.queues.meshes.put(ObjectRef::from(*mesh));
                let uid = mesh.uid().unwrap_or_default();
                let depended = depended_on(mesh);
                if seen.insert(uid, depended.clone()).as_ref() != Some(&depended) {
                    self.members_of(mesh);
                }
            }
            Change::Deleted(mesh) => {
                let uid = mesh.uid().unwrap_or_default();
                self.claims_where(|claim| claim.spec.mesh.uid == uid);
                seen.remove(&uid);
            }
        }
    }

    /// A machine outside concerns itself, and so does a member whose pod is not known to carry the label; every member its
    /// mesh; one that is gone its pod, if that is still there, and its claim.
    pub(super) fn member(&self, change: &Change<'_, TunMeshMember>) {
        let (Change::Applied(member) | Change::Deleted(member)) = change;
        let namespace = member.namespace().unwrap_or_default();
        let mesh = &member.spec.mesh;
        self.queues.meshes.put(ObjectRef::new(&mesh.name).within(mesh.namespace.as_ref().unwrap_or(&namespace)));
        match change {
            Change::Applied(member) => {
                if !member.spec.pod.as_ref().is_some_and(|pod| self.has_label(&namespace, pod)) {
                    self.queues.members.put(ObjectRef::from(*member));
                }
            }
            Change::Deleted(member) => {
                self.queues.pods.put(ObjectRef::new(&member.name_any()).within(&namespace));
                let uid = member.uid();
                self.claims_where(|claim| Some(&claim.spec.owner.uid) == uid.as_ref());
            }
        }
    }

    pub(super) fn claim(&self, change: &Change<'_, TunMeshAddress>) {
        if let Change::Applied(claim) = change {
            self.queues.claims.put(ObjectRef::from(*claim));
        }
    }

    /// A pod concerns itself and its mesh; one that is over the claims of its owner, too; one that is gone its member, since
    /// it may only have lost the label.
    pub(super) fn pod(&self, change: &Change<'_, Pod>) {
        let (Change::Applied(pod) | Change::Deleted(pod)) = change;
        let Some(facts) = PodFacts::of(pod) else { return };
        self.queues.meshes.put(facts.mesh());
        match change {
            Change::Applied(pod) => self.queues.pods.put(ObjectRef::from(*pod)),
            Change::Deleted(_) => self.queues.members.put(ObjectRef::new(&facts.name).within(&facts.namespace)),
        }
        if matches!(change, Change::Deleted(_)) || facts.over {
            self.claims_where(|claim| claim.spec.owner.uid == facts.owner.uid);
        }
    }

    /// What members say of a mesh concerns the mesh, and the machines outside that they know.
    pub(super) fn looked_at(&self, mesh: &TunMesh) {
        self.queues.meshes.put(ObjectRef::from(mesh));
        self.outside_of(mesh);
    }

    fn has_label(&self, namespace: &str, pod: &MemberPod) -> bool {
        let known = self.pods.get(&ObjectRef::new(&pod.name).within(namespace));
        known.is_some_and(|known| known.uid().as_ref() == Some(&pod.uid))
    }

    fn members_of(&self, mesh: &TunMesh) {
        let (namespace, name) = (mesh.namespace().unwrap_or_default(), mesh.name_any());
        for pod in self.pods.state() {
            let own = pod.namespace().unwrap_or_default();
            let mesh_namespace = pod.labels().get(MESH_NAMESPACE_LABEL).unwrap_or(&own);
            if (mesh_namespace, pod.labels().get(MESH_LABEL)) == (&namespace, Some(&name)) {
                self.queues.pods.put(ObjectRef::from(&*pod));
            }
        }
        self.outside_of(mesh);
    }

    fn outside_of(&self, mesh: &TunMesh) {
        let name = mesh.name_any();
        let outside = |member: &TunMeshMember| member.spec.outside.is_some() && member.spec.mesh.name == name;
        for member in self.members.state_filter(outside) {
            self.queues.members.put(ObjectRef::from(&*member));
        }
    }

    fn claims_where(&self, is_meant: impl Fn(&TunMeshAddress) -> bool) {
        for claim in self.claims.state_filter(is_meant) {
            self.queues.claims.put(ObjectRef::from(&*claim));
        }
    }
}

/// What members depend on: not the counts of the status, which change with every one of them.
fn depended_on(mesh: &TunMesh) -> String {
    let status = mesh.status.clone().unwrap_or_default();
    let deleting = mesh.metadata.deletion_timestamp.is_some();
    let authority = status.trust.authority_rotated.map(|time| time.0);
    format!(
        "{:?} {deleting} {:?} {:?} {:?} {authority:?}",
        mesh.metadata.generation, status.address_pools, status.mtu, status.endpoints
    )
}
