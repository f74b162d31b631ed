//! What the tests share: a namespace of their own, and waiting for what becomes of their objects.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::sleep;
use tunmesh_crds::names::{MANAGED_BY_LABEL, MANAGER, MESH_LABEL};
use tunmesh_crds::{TunMesh, TunMeshAddress, TunMeshMember};
use tunmesh_e2e::cluster::Cluster;

/// The cluster, and a namespace of the test's own in which PodSecurity enforces `restricted`.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Stage {
    /// Makes the namespace; it is removed with the stage.
    pub(crate) async fn new(test: &str) -> Self {
        Self::with_level(test, "restricted").await
    }

    /// Likewise, with another level of PodSecurity.
    pub(crate) async fn with_level(test: &str, level: &str) -> Self {
        let cluster = Cluster::from_env().unwrap_or_else(|error| panic!("{error}"));
        let client = cluster.client().await.unwrap();
        let labels = [("pod-security.kubernetes.io/enforce", level)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let metadata =
            ObjectMeta { generate_name: Some(format!("{test}-")), labels: Some(labels), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let namespace = Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap().name_any();
        Self { cluster, client, namespace }
    }

    /// Makes a mesh of three lines and what YAML makes of them, and waits for its networks.
    pub(crate) async fn mesh(&self, name: &str) -> TunMesh {
        self.apply(&format!("apiVersion: tunmesh.io/v1alpha1\nkind: TunMesh\nmetadata: {{name: {name}}}\n"));
        let meshes = self.api::<TunMesh>();
        eventually(&format!("networks of TunMesh {name}"), SOON, || async {
            let mesh = meshes.get(name).await.unwrap();
            let networks = mesh.status.as_ref().is_some_and(|status| status.address_pools.len() == 2);
            if networks { Ok(mesh) } else { Err(mesh.status) }
        })
        .await
    }

    /// Objects of a kind in the namespace of the test.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies YAML in the namespace of the test.
    pub(crate) fn apply(&self, manifests: &str) {
        self.cluster.apply(&self.namespace, manifests).unwrap_or_else(|error| panic!("{error}\n{manifests}"));
    }

    /// Runs kubectl in the namespace of the test.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["--namespace", self.namespace.as_str()], arguments].concat();
        self.cluster.kubectl(&arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs a shell script in the application container of a pod.
    pub(crate) fn shell(&self, pod: &str, script: &str) -> String {
        self.cluster.shell(&self.namespace, pod, APP, script).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until `count` pods with the label are ready, all containers of them, and gives them.
    pub(crate) async fn pods(&self, label: &str, count: usize) -> Vec<Pod> {
        let pods = self.api::<Pod>();
        eventually(&format!("{count} ready pods with {label} in {}", self.namespace), START, || async {
            let all = pods.list(&ListParams::default().labels(label)).await.unwrap().items;
            let living: Vec<_> = all.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
            if living.len() == count && living.iter().all(is_ready) {
                return Ok(living);
            }
            Err(living.iter().map(|pod| (pod.name_any(), state(pod))).collect::<Vec<_>>())
        })
        .await
    }

    /// Mesh addresses of a member, IPv4 first.
    pub(crate) async fn addresses(&self, member: &str) -> [IpAddr; 2] {
        let members = self.api::<TunMeshMember>();
        eventually(&format!("addresses of member {member}"), SOON, || async {
            let status = members.get(member).await.unwrap().status.unwrap_or_default();
            match (status.addresses.ipv4, status.addresses.ipv6) {
                (Some(ipv4), Some(ipv6)) => Ok([ipv4.into(), ipv6.into()]),
                (_, _) => Err(status),
            }
        })
        .await
    }

    /// Everything in the cluster that was made for the mesh of this UID, as Kind/name.
    pub(crate) async fn made_for(&self, mesh_uid: &str) -> Vec<String> {
        let mine = format!("{MANAGED_BY_LABEL}={MANAGER}");
        let kinds = "tunmeshmembers,secrets,services,endpointslices";
        let listed = self.kubectl(&["get", kinds, "--selector", &mine, "--output=name"]);
        let claims = Api::<TunMeshAddress>::all(self.client.clone()).list(&ListParams::default()).await.unwrap();
        let claims =
            claims.items.into_iter().filter(|claim| claim.spec.mesh.uid == mesh_uid).map(|claim| claim.name_any());
        listed.lines().map(str::to_owned).chain(claims).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        // Without waiting: nothing of another test is in it.
        let ended = self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
        println!("{}", ended.unwrap_or_else(|error| error.to_string()).trim());
    }
}

impl Stage {
    /// What a person would look at first.
    fn tell(&self) {
        let in_namespace = |arguments: &[&str]| {
            let all = [&["--namespace", self.namespace.as_str()], arguments].concat();
            let said = self.cluster.kubectl(&all).unwrap_or_else(|error| error.to_string());
            println!("--- kubectl {}\n{said}", arguments.join(" "));
        };
        in_namespace(&["get", "pods,tunmeshes,tunmeshmembers", "--output=wide"]);
        in_namespace(&["get", "events", "--sort-by=.lastTimestamp"]);
        in_namespace(&["logs", "--selector", MESH_LABEL, "--container=tunmesh", "--tail=20", "--prefix"]);
        let logs = ["--namespace", SYSTEM, "logs", "deployment/tunmesh-operator", "--tail=40"];
        println!("{}", self.cluster.kubectl(&logs).unwrap_or_else(|error| error.to_string()));
    }
}

/// A Deployment of `count` pods with netkit, members of `mesh` if there is one; what they run is `script`.
pub(crate) fn deployment(name: &str, count: usize, mesh: Option<&str>, script: &str) -> String {
    workload("Deployment", name, count, mesh, script, "")
}

/// Likewise a StatefulSet.
pub(crate) fn stateful_set(name: &str, count: usize, mesh: Option<&str>, script: &str) -> String {
    workload("StatefulSet", name, count, mesh, script, "\n  serviceName: none\n  podManagementPolicy: Parallel")
}

fn workload(kind: &str, name: &str, count: usize, mesh: Option<&str>, script: &str, more: &str) -> String {
    let template = pod_template(name, mesh, script, "Always").replace('\n', "\n    ");
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  replicas: {count}{more}\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    {template}\n"
    )
}

/// Likewise a DaemonSet, with a pod on every node that takes some.
pub(crate) fn daemon_set(name: &str, mesh: Option<&str>, script: &str) -> String {
    let template = pod_template(name, mesh, script, "Always").replace('\n', "\n    ");
    format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    {template}\n"
    )
}

/// A Job that runs `script` once.
pub(crate) fn job(name: &str, mesh: Option<&str>, script: &str) -> String {
    let template = pod_template(name, mesh, script, "Never").replace('\n', "\n    ");
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  backoffLimit: 0\n  template:\n    {template}\n"
    )
}

/// A pod of that name.
pub(crate) fn pod(name: &str, mesh: Option<&str>, script: &str) -> String {
    let template = pod_template(name, mesh, script, "Never");
    format!("apiVersion: v1\nkind: Pod\n{}\n", template.replacen("metadata:", &format!("metadata:\n  name: {name}"), 1))
}

/// Metadata and spec of a pod that PodSecurity `restricted` lets pass, spread over the nodes.
fn pod_template(app: &str, mesh: Option<&str>, script: &str, restart: &str) -> String {
    let mesh = mesh.map(|mesh| format!(", {MESH_LABEL}: {mesh}")).unwrap_or_default();
    format!(
        r#"metadata:
  labels: {{app: {app}{mesh}}}
spec:
  restartPolicy: {restart}
  terminationGracePeriodSeconds: 2
  enableServiceLinks: false
  automountServiceAccountToken: false
  topologySpreadConstraints:
  - {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {{matchLabels: {{app: {app}}}}}}}
  securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: {APP}
    image: {NETKIT}
    command: [sh, -c, {script:?}]
    securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}"#
    )
}

/// Runs for as long as the pod is wanted, and ends at once when it is not.
pub(crate) const IDLE: &str = "trap exit TERM; sleep 1000000 & wait";

/// Waits until `look` finds what it looks for; fails with what it last found instead.
pub(crate) async fn eventually<T, Seen, Look, Looked>(what: &str, limit: Duration, mut look: Look) -> T
where
    Seen: Debug,
    Look: FnMut() -> Looked,
    Looked: Future<Output = Result<T, Seen>>,
{
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(begun.elapsed() < limit, "{what}: not within {limit:?}, but {seen:#?}"),
        }
        sleep(POLL).await;
    }
}

/// Deletes an object and waits until it is gone.
pub(crate) async fn delete<K>(api: &Api<K>, name: &str)
where
    K: Clone + Debug + serde::de::DeserializeOwned + kube::Resource,
{
    let _gone_at_once = api.delete(name, &DeleteParams::default()).await.unwrap();
    eventually(&format!("the end of {name}"), START, || async {
        match api.get_opt(name).await.unwrap() {
            None => Ok(()),
            Some(object) => Err(object.meta().finalizers.clone()),
        }
    })
    .await;
}

/// The middle one of `values`, and the one that nine in ten do not pass.
pub(crate) fn median_and_p90(values: &mut [Duration]) -> (Duration, Duration) {
    values.sort_unstable();
    (values[values.len() / 2], values[values.len() * 9 / 10])
}

/// Containers of a pod by name, sidecar included: container ID without the runtime, and restarts.
pub(crate) fn containers(pod: &Pod) -> BTreeMap<String, (String, i32)> {
    let status = pod.status.clone().unwrap_or_default();
    let all =
        status.container_statuses.into_iter().flatten().chain(status.init_container_statuses.into_iter().flatten());
    all.map(|container| {
        let id = container.container_id.unwrap_or_default();
        let id = id.rsplit("//").next().unwrap_or_default().to_owned();
        (container.name, (id, container.restart_count))
    })
    .collect()
}

/// The node a pod runs on.
pub(crate) fn node(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn state(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let all =
        status.init_container_statuses.into_iter().flatten().chain(status.container_statuses.into_iter().flatten());
    let states = all.map(|container| {
        let state = container.state.unwrap_or_default();
        let waits = state.waiting.and_then(|waiting| waiting.reason);
        format!("{} ready={} {}", container.name, container.ready, waits.unwrap_or_default())
    });
    format!("{} {}", status.phase.unwrap_or_default(), states.collect::<Vec<_>>().join(", "))
}

/// The container of the application.
pub(crate) const APP: &str = "app";
/// Where the operator is.
pub(crate) const SYSTEM: &str = "tunmesh-system";
/// An image with ping, iperf3 and curl that every node has.
const NETKIT: &str = "tunmesh.io/e2e/netkit:1";
const POLL: Duration = Duration::from_millis(100);
/// For what the operator does.
pub(crate) const SOON: Duration = Duration::from_secs(15);
/// For what kubelets do, on a machine with much else to do.
pub(crate) const START: Duration = Duration::from_secs(120);
