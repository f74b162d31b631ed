//! What every reconciler has at hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, ObjectReference, Pod};
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use tunmesh_crds::{TunMesh, TunMeshAddress, TunMeshMember};

use crate::inject::{self, Defaults};
use crate::known::{Look, Surroundings};
use crate::metrics::Metrics;
use crate::trust::MeshTrust;

/// Settings of the operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace it runs in.
    pub namespace: String,
    /// What the webhook puts into pods unless they or their mesh say otherwise.
    pub defaults: Defaults,
    /// Domain of the cluster's names, such as `cluster.local`.
    pub cluster_domain: String,
    /// Time between the two looks after which an owner counts as gone.
    pub confirm: Duration,
    /// How long an address rests, if less than twice the lifetime of its certificates.
    pub quarantine: Option<Duration>,
}

/// What is known of the cluster, kept current by watches.
pub struct Stores {
    /// Every mesh.
    pub meshes: Store<TunMesh>,
    /// Every member.
    pub members: Store<TunMeshMember>,
    /// Every claim.
    pub claims: Store<TunMeshAddress>,
    /// Pods with the label of a mesh.
    pub pods: Store<Pod>,
    /// Labels of namespaces.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
}

impl Stores {
    /// Done when every watch has brought what there was when it began.
    pub(crate) fn ready(&self) -> impl Future<Output = ()> + Send + 'static {
        let Self { meshes, members, claims, pods, namespaces } = self;
        let (meshes, members, claims) = (meshes.clone(), members.clone(), claims.clone());
        let (pods, namespaces) = (pods.clone(), namespaces.clone());
        async move {
            // A watch that ends takes the process with it; then nobody asks.
            let _ended = futures::join!(
                meshes.wait_until_ready(),
                members.wait_until_ready(),
                claims.wait_until_ready(),
                pods.wait_until_ready(),
                namespaces.wait_until_ready(),
            );
        }
    }
}

/// What every reconciler has at hand.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Settings.
    pub settings: Settings,
    /// What is known of the cluster.
    pub stores: Stores,
    /// Figures.
    pub metrics: Metrics,
    /// By UID of the mesh, and when it was read.
    trust: Mutex<HashMap<String, (Instant, Arc<MeshTrust>)>>,
    /// By UID of the mesh: URLs of some members that run, with the UID of each.
    running: Mutex<HashMap<String, Vec<(String, String)>>>,
    /// By UID of the mesh: what its members said of it last.
    looks: Mutex<HashMap<String, Look>>,
    /// By UID of the mesh: what was last published of it, and where it is reached from outside.
    published: Mutex<HashMap<String, Published>>,
    /// By UID of the mesh: when it was last looked at as a whole.
    settled: Mutex<HashMap<String, Instant>>,
    /// What else there is in the cluster, and when it was read.
    pub(crate) surroundings: tokio::sync::Mutex<Option<(Instant, Arc<Surroundings>)>>,
    recorder: Recorder,
}

struct Published {
    text: String,
    outside: Vec<String>,
    at: Instant,
}

impl Context {
    /// Nothing known of any authority yet.
    pub fn new(client: Client, settings: Settings, stores: Stores, metrics: Metrics, recorder: Recorder) -> Self {
        Self {
            client,
            settings,
            stores,
            metrics,
            trust: Mutex::default(),
            running: Mutex::default(),
            looks: Mutex::default(),
            published: Mutex::default(),
            settled: Mutex::default(),
            surroundings: tokio::sync::Mutex::default(),
            recorder,
        }
    }

    /// Authority and secret of the mesh of this UID, once its reconciler has read them.
    pub fn trust(&self, mesh_uid: &str) -> Option<Arc<MeshTrust>> {
        let known = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(mesh_uid).map(|(_, trust)| trust.clone())
    }

    /// The same, if it was read a short time ago.
    pub fn fresh_trust(&self, mesh_uid: &str) -> Option<Arc<MeshTrust>> {
        let known = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(mesh_uid).filter(|(at, _)| at.elapsed() < TRUST_AGE).map(|(_, trust)| trust.clone())
    }

    /// Remembers them, or forgets them.
    pub fn set_trust(&self, mesh_uid: &str, trust: Option<Arc<MeshTrust>>) {
        let mut known = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        match trust {
            Some(trust) => known.insert(mesh_uid.to_owned(), (Instant::now(), trust)),
            None => known.remove(mesh_uid),
        };
    }

    /// URLs of a few members of a mesh that run, other ones for every asker; its own is not among them.
    pub fn peers(&self, mesh_uid: &str, asker: &str) -> Vec<String> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(members) = running.get(mesh_uid) else { return Vec::new() };
        let start = asker.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let others = members.iter().cycle().skip(start.checked_rem(members.len()).unwrap_or(0)).take(members.len());
        others.filter(|(uid, _)| uid != asker).map(|(_, url)| url.clone()).take(PEERS).collect()
    }

    /// Remembers which members of a mesh run.
    pub fn set_running(&self, mesh_uid: &str, members: Vec<(String, String)>) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(mesh_uid.to_owned(), members);
    }

    /// Whether a mesh takes members of a namespace.
    pub fn takes(&self, mesh: &TunMesh, namespace: &str) -> bool {
        let known = self.stores.namespaces.get(&ObjectRef::new(namespace));
        let labels = known.map(|namespace| namespace.labels().clone()).unwrap_or_default();
        inject::is_allowed(mesh, namespace, &labels)
    }

    /// What members of a mesh said of it last.
    pub fn look(&self, mesh_uid: &str) -> Option<Look> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).get(mesh_uid).cloned()
    }

    /// Remembers what members of a mesh say.
    pub fn set_look(&self, mesh_uid: &str, look: Look) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).insert(mesh_uid.to_owned(), look);
    }

    /// Where a mesh is reached from outside, if exactly `text` was published of it a while ago.
    pub fn published(&self, mesh_uid: &str, text: &str) -> Option<Vec<String>> {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let last = published.get(mesh_uid).filter(|last| last.text == text && last.at.elapsed() < REPUBLISH)?;
        Some(last.outside.clone())
    }

    /// Remembers what was published of a mesh.
    pub fn set_published(&self, mesh_uid: &str, text: String, outside: Vec<String>) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.insert(mesh_uid.to_owned(), Published { text, outside, at: Instant::now() });
    }

    /// Whether a mesh may be looked at as a whole; if not, how long not yet. Many pods change together, and all of them are
    /// looked at once.
    pub fn settle(&self, mesh_uid: &str) -> Result<(), Duration> {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(at) = settled.get(mesh_uid).filter(|at| now < **at + SETTLE) {
            return Err(*at + SETTLE - now);
        }
        settled.insert(mesh_uid.to_owned(), now);
        Ok(())
    }

    /// Forgets a mesh that is gone.
    pub fn forget(&self, mesh_uid: &str) {
        self.set_trust(mesh_uid, None);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(mesh_uid);
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).remove(mesh_uid);
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).remove(mesh_uid);
        self.published.lock().unwrap_or_else(PoisonError::into_inner).remove(mesh_uid);
    }

    /// Tells people about an object. What cannot be told is logged: an event is no reason to stop.
    pub async fn tell(&self, about: &ObjectReference, kind: EventType, reason: &str, action: &str, note: String) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            // Nothing can be written into a namespace that is going; whoever deleted it needs no event.
            if matches!(&error, kube::Error::Api(status) if status.message.contains("being terminated")) {
                return;
            }
            tracing::warn!(%error, reason, "failed to write an event");
        }
    }
}

/// Members in the file of each member: enough that one of them is still there.
const PEERS: usize = 3;

/// Least time between two looks at a mesh as a whole.
const SETTLE: Duration = Duration::from_millis(200);

/// Age at which the Secret of a mesh is read again: nobody watches it.
const TRUST_AGE: Duration = Duration::from_secs(300);

/// Age at which what was published is written again, in case somebody changed it.
const REPUBLISH: Duration = Duration::from_secs(600);
