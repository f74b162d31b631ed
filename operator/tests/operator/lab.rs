//! An operator in this process, and objects as users and kubelets write them.
//!
//! An operator works on the whole API server, so tests take turns.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tunmesh_crds::{TunMesh, TunMeshAddress, TunMeshMember};
use tunmesh_e2e::api_server::ApiServer;
use tunmesh_operator::context::Settings;
use tunmesh_operator::inject::Defaults;
use tunmesh_operator::run::{Options, run};

/// One namespace of the shared API server.
pub(crate) struct Lab {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// An operator that ends with its test.
pub(crate) struct Operator {
    stop: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<()>>,
    metrics: SocketAddr,
    webhook: Option<SocketAddr>,
    _turn: Option<MutexGuard<'static, ()>>,
}

static TURN: Mutex<()> = Mutex::const_new(());

impl Operator {
    pub(crate) async fn start(client: Client) -> Self {
        let turn = TURN.lock().await;
        Self { _turn: Some(turn), ..Self::beside(client) }
    }

    /// A second one, as when a leader is replaced and does not know it yet.
    pub(crate) fn beside(client: Client) -> Self {
        Self::run(client, None, Some(REST))
    }

    /// One that has addresses rest as long as they are to.
    pub(crate) async fn start_resting(client: Client) -> Self {
        let turn = TURN.lock().await;
        Self { _turn: Some(turn), ..Self::run(client, None, None) }
    }

    /// With its webhook, which no API server calls.
    pub(crate) async fn start_serving(client: Client) -> Self {
        let turn = TURN.lock().await;
        Self { _turn: Some(turn), ..Self::run(client, Some(free_address()), Some(REST)) }
    }

    /// Reconciliations that failed for this reason.
    pub(crate) async fn errors(&self, category: &str) -> u64 {
        let answer = self.figures().await;
        assert!(answer.contains("tunmesh_operator_reconcile_seconds_count"), "{answer}");
        sum(&answer, "tunmesh_operator_errors_total", &format!("category=\"{category}\""))
    }

    /// Times that the controller of a workload was asked to look again.
    pub(crate) async fn asked(&self, kind: &str) -> u64 {
        sum(&self.figures().await, "tunmesh_operator_controllers_asked_total", &format!("kind=\"{kind}\""))
    }

    async fn figures(&self) -> String {
        let mut stream = TcpStream::connect(self.metrics).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Has the webhook review a pod of `mesh`, as an API server would.
    pub(crate) async fn review(&self, namespace: &str, mesh: &str) {
        let mut config = kube::Config::new(format!("https://{}", self.webhook.unwrap()).parse().unwrap());
        config.accept_invalid_certs = true;
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"labels": {"tunmesh.io/mesh": mesh}}, "spec": {"containers": []},
        });
        let request = json!({
            "uid": "1", "operation": "CREATE", "namespace": namespace, "object": pod, "userInfo": {},
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
        });
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        let client = Client::try_from(config).unwrap();
        let answer = || async {
            let request = hyper::Request::post("/mutate").header("content-type", "application/json");
            let request = request.body(serde_json::to_vec(&review).unwrap()).unwrap();
            Some(client.request_text(request).await)
        };
        eventually("an answer of the webhook", answer, Result::is_ok).await.unwrap();
    }

    fn run(client: Client, webhook: Option<SocketAddr>, quarantine: Option<Duration>) -> Self {
        let metrics = free_address();
        let settings = Settings {
            namespace: "tunmesh-system".into(),
            defaults: Defaults { agent_image: "tunmesh.io/agent:test".into() },
            cluster_domain: "cluster.local".into(),
            confirm: Duration::from_millis(200),
            quarantine,
        };
        let (stop, stopped) = watch::channel(false);
        let options = Options { settings, webhook, metrics };
        let task = tokio::spawn(run(client, options, stopped));
        Self { stop, task, metrics, webhook, _turn: None }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

impl Lab {
    pub(crate) async fn new(test: &str) -> Self {
        let server = ApiServer::shared().unwrap_or_else(|error| panic!("{error}"));
        let client = server.client().await.unwrap_or_else(|error| panic!("{error}"));
        server.define(&client).await.unwrap_or_else(|error| panic!("{error}"));
        let namespace = server.namespace(&client, test).await.unwrap();
        Self { client, namespace }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn mesh(&self, name: &str, spec: Value) -> TunMesh {
        let mesh = TunMesh::new(name, serde_json::from_value(spec).unwrap());
        self.api().create(&PostParams::default(), &mesh).await.unwrap()
    }

    /// A pod as the webhook leaves it.
    pub(crate) async fn pod(&self, name: &str, mesh: &str, more: Value) -> Pod {
        let mut pod = json!({
            "metadata": {
                "name": name,
                "labels": {"tunmesh.io/mesh": mesh},
                "annotations": {"tunmesh.io/secret": format!("tunmesh-{name}"), "tunmesh.io/sidecar-template": "old"},
            },
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        });
        merge(&mut pod, more);
        self.api().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
    }

    pub(crate) async fn stateful_set(&self, name: &str) -> StatefulSet {
        let set = json!({
            "metadata": {"name": name},
            "spec": {
                "serviceName": name,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": name, "image": name}]},
                },
            },
        });
        let set: StatefulSet = serde_json::from_value(set).unwrap();
        self.api().create(&PostParams::default(), &set).await.unwrap()
    }

    /// What a kubelet writes when the sidecar is ready.
    pub(crate) async fn runs(&self, pod: &str, address: &str) {
        let sidecar = json!({
            "name": "tunmesh", "image": "i", "imageID": "i", "restartCount": 0, "ready": true,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        });
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "initContainerStatuses": [sidecar],
        }});
        self.api::<Pod>().patch_status(pod, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    pub(crate) async fn delete_pod(&self, name: &str) {
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.api::<Pod>().delete(name, &at_once).await.unwrap();
        // There is no garbage collector here.
        let _absent = self.api::<TunMeshMember>().delete(name, &DeleteParams::default()).await;
    }

    pub(crate) async fn address(&self, member: &str) -> Ipv4Addr {
        let member =
            self.member(member, |member| member.status.as_ref().is_some_and(|it| it.addresses.ipv4.is_some())).await;
        member.status.unwrap().addresses.ipv4.unwrap()
    }

    /// The member once `is_meant` is true of it.
    pub(crate) async fn member(&self, name: &str, is_meant: impl Fn(&TunMeshMember) -> bool) -> TunMeshMember {
        let api = self.api::<TunMeshMember>();
        eventually(name, || async { api.get_opt(name).await.unwrap() }, is_meant).await
    }

    pub(crate) async fn secret(&self, name: &str) -> BTreeMap<String, String> {
        let api = self.api::<Secret>();
        let secret = eventually(name, || async { api.get_opt(name).await.unwrap() }, |_| true).await;
        let text = |bytes: k8s_openapi::ByteString| String::from_utf8(bytes.0).unwrap();
        secret.data.unwrap().into_iter().map(|(key, bytes)| (key, text(bytes))).collect()
    }

    /// The mesh once `is_meant` is true of it.
    pub(crate) async fn mesh_when(&self, name: &str, is_meant: impl Fn(&TunMesh) -> bool) -> TunMesh {
        let api = self.api::<TunMesh>();
        eventually(name, || async { api.get_opt(name).await.unwrap() }, is_meant).await
    }

    /// Claims of a mesh.
    pub(crate) async fn claims(&self, mesh: &TunMesh) -> Vec<TunMeshAddress> {
        let all = Api::<TunMeshAddress>::all(self.client.clone()).list(&Default::default()).await.unwrap();
        all.items.into_iter().filter(|claim| Some(&claim.spec.mesh.uid) == mesh.uid().as_ref()).collect()
    }

    /// Notes of the events about an object, with their reasons.
    pub(crate) async fn event(&self, about: &str, reason: &str) -> String {
        let api = self.api::<k8s_openapi::api::events::v1::Event>();
        let find = || async {
            let events = api.list(&Default::default()).await.unwrap();
            events.items.into_iter().find(|event| {
                let regards = event.regarding.as_ref().and_then(|object| object.name.clone());
                regards.as_deref() == Some(about) && event.reason.as_deref() == Some(reason)
            })
        };
        eventually(reason, find, |_| true).await.note.unwrap()
    }
}

/// What `read` gives once there is something and `is_meant` is true of it.
pub(crate) async fn eventually<T: Debug, Reading: Future<Output = Option<T>>>(
    what: &str,
    read: impl Fn() -> Reading,
    is_meant: impl Fn(&T) -> bool,
) -> T {
    let mut last = None;
    let waiting = async {
        loop {
            last = read().await;
            if let Some(found) = last.take_if(|found| is_meant(found)) {
                return found;
            }
            sleep(POLL).await;
        }
    };
    let found = timeout(PATIENCE, waiting).await;
    found.unwrap_or_else(|_| panic!("{what} did not become what it should be: {last:#?}"))
}

pub(crate) fn reason_of(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    type_: &str,
) -> String {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .map(|condition| condition.reason.clone())
        .unwrap_or_default()
}

/// A port of this machine that nobody has.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Of the figures of this name with this label.
fn sum(figures: &str, name: &str, label: &str) -> u64 {
    let lines = figures.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

const POLL: Duration = Duration::from_millis(20);
/// How long an address rests where it does not matter.
const REST: Duration = Duration::from_millis(600);
const PATIENCE: Duration = Duration::from_secs(20);
