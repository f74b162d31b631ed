use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use prometheus::IntGauge;
use tunmesh_crds::{TunMesh, TunMeshAddress, TunMeshMember};

use crate::metrics::Metrics;

/// Where it is said what to look at again. The scheduler behind each keeps an object once, however often it is named.
pub(super) struct Queues {
    pub(super) meshes: Queue<TunMesh>,
    pub(super) members: Queue<TunMeshMember>,
    pub(super) claims: Queue<TunMeshAddress>,
    pub(super) pods: Queue<Pod>,
}

/// The other ends.
pub(super) struct Works {
    pub(super) meshes: Work<TunMesh>,
    pub(super) members: Work<TunMeshMember>,
    pub(super) claims: Work<TunMeshAddress>,
    pub(super) pods: Work<Pod>,
}

pub(super) fn all(metrics: &Metrics) -> (Queues, Works) {
    let (meshes, meshes_work) = pair(metrics);
    let (members, members_work) = pair(metrics);
    let (claims, claims_work) = pair(metrics);
    let (pods, pods_work) = pair(metrics);
    let works = Works { meshes: meshes_work, members: members_work, claims: claims_work, pods: pods_work };
    (Queues { meshes, members, claims, pods }, works)
}

/// The end of a queue where objects are put in.
pub(super) struct Queue<K: Resource<DynamicType = ()>> {
    sender: UnboundedSender<ObjectRef<K>>,
    waiting: Waiting,
}

impl<K: Resource<DynamicType = ()>> Queue<K> {
    pub(super) fn put(&self, object: ObjectRef<K>) {
        self.waiting.enter(&object);
        // A queue ends with the process.
        let _ended = self.sender.unbounded_send(object);
    }
}

/// The end where they are taken out.
pub(super) struct Work<K: Resource<DynamicType = ()>> {
    pub(super) objects: UnboundedReceiver<ObjectRef<K>>,
    pub(super) waiting: Waiting,
}

fn pair<K: Resource<DynamicType = ()>>(metrics: &Metrics) -> (Queue<K>, Work<K>) {
    let (sender, objects) = unbounded();
    let waiting = Waiting { names: Arc::default(), depth: metrics.depth(&K::kind(&())) };
    (Queue { sender, waiting: waiting.clone() }, Work { objects, waiting })
}

/// Namespaces and names.
type Names = HashSet<(Option<String>, String)>;

/// Objects that were put in and are not taken out, for the metric of the depth.
#[derive(Clone)]
pub(super) struct Waiting {
    names: Arc<Mutex<Names>>,
    depth: IntGauge,
}

impl Waiting {
    fn enter<K: Resource<DynamicType = ()>>(&self, object: &ObjectRef<K>) {
        self.change(|names| names.insert((object.namespace.clone(), object.name.clone())));
    }

    /// The object is being looked at, or is not there any more.
    pub(super) fn leave(&self, namespace: Option<String>, name: String) {
        self.change(|names| names.remove(&(namespace, name)));
    }

    fn change(&self, change: impl FnOnce(&mut Names) -> bool) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut names);
        self.depth.set(i64::try_from(names.len()).unwrap_or(i64::MAX));
    }
}
