use futures::future::join_all;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::json;

use crate::lab::{Lab, Operator, eventually};
use crate::rights::{account, install};

#[tokio::test]
async fn with_those_rights_controllers_whose_pods_were_refused_are_asked_once_and_all_when_the_webhook_is_called() {
    let lab = Lab::new("waiting").await;
    install(&lab.client).await;
    let hook = hook(&lab).await;
    // First, as another operator of these tests would ask them, too.
    let operator = Operator::start_serving(account("tunmesh-operator")).await;
    lab.mesh("m", json!({})).await;
    lab.mesh_when("m", |mesh| mesh.status.is_some()).await;
    let others = Workload::new(&lab, "ReplicaSet", "others").await;
    others.refused("inject.example.org", &others.uid, 1).await;
    let again = Workload::new(&lab, "ReplicaSet", "again").await;
    again.refused(&hook, "that of an earlier one", 2).await;

    let first = Workload::new(&lab, "ReplicaSet", "first").await;
    first.refused(&hook, &first.uid, 3).await;
    eventually("the first", || async { Some(first.is_asked().await) }, |asked| *asked).await;
    let once = first.version().await;
    let mut more = Vec::new();
    // One each second would take longer than is waited for.
    for name in (0..30).map(|number| format!("set-{number}")) {
        more.push(Workload::new(&lab, "StatefulSet", &name).await);
    }
    more.push(Workload::new(&lab, "DaemonSet", "daemons").await);
    more.push(Workload::new(&lab, "Job", "job").await);
    for workload in &more {
        workload.refused(&hook, &workload.uid, 4).await;
    }
    let all = || async {
        operator.review(&lab.namespace, "m").await;
        let asked = join_all(more.iter().map(Workload::is_asked)).await;
        Some(asked.into_iter().filter(|asked| *asked).count())
    };
    eventually("all others", all, |asked| *asked == more.len()).await;

    assert_eq!(first.version().await, once);
    assert_eq!(operator.asked("Job").await, 1);
    // Its controller looks, and its pod is refused once more.
    first.look().await;
    first.refused(&hook, &first.uid, 5).await;
    eventually("the first again", || async { Some(first.is_asked().await) }, |asked| *asked).await;
    assert_eq!(others.version().await, others.version);
    assert_eq!(again.version().await, again.version);
    assert_eq!(operator.errors("forbidden").await, 0, "the API server refused what the operator did");
    operator.stop().await;
}

#[tokio::test]
async fn without_the_rights_for_it_nobody_is_asked_and_the_rest_goes_on() {
    let lab = Lab::new("unasked").await;
    install(&lab.client).await;
    older_rights(&lab).await;
    let operator = Operator::start_serving(account("older")).await;
    let short = Workload::new(&lab, "ReplicaSet", "short").await;
    short.refused(&hook(&lab).await, &short.uid, 0).await;

    lab.mesh("m", json!({})).await;
    lab.pod("web", "m", json!({})).await;
    lab.secret("tunmesh-web").await;
    let refused = || async { Some(operator.errors("forbidden").await) };
    eventually("a refusal", refused, |count| *count > 0).await;

    assert_eq!(short.version().await, short.version);
    operator.stop().await;
}

/// Gives the account `older` what the operator has, but for what it needs to ask controllers.
async fn older_rights(lab: &Lab) {
    let mut role = Api::<ClusterRole>::all(lab.client.clone()).get("tunmesh-operator").await.unwrap();
    let rules = role.rules.as_mut().unwrap();
    rules.retain(|rule| !rule.resources.iter().flatten().any(|it| it == "replicasets/status" || it == "jobs/status"));
    for rule in rules.iter_mut().filter(|rule| rule.resources.as_deref() == Some(&["events".to_owned()])) {
        rule.verbs.retain(|verb| verb != "list" && verb != "watch");
    }
    let metadata = json!({"name": format!("older-{}", lab.namespace)});
    let role = json!({"metadata": metadata, "rules": role.rules});
    let role: ClusterRole = serde_json::from_value(role).unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "older", "namespace": "tunmesh-system"}],
    }))
    .unwrap();
    Api::all(lab.client.clone()).create(&PostParams::default(), &role).await.unwrap();
    Api::all(lab.client.clone()).create(&PostParams::default(), &binding).await.unwrap();
}

/// The name of the webhook as it is deployed.
async fn hook(lab: &Lab) -> String {
    let configurations = Api::<MutatingWebhookConfiguration>::all(lab.client.clone());
    configurations.get("tunmesh").await.unwrap().webhooks.unwrap().remove(0).name
}

/// A workload with the label, whose controller the test plays.
struct Workload {
    api: Api<DynamicObject>,
    events: Api<Event>,
    stored: DynamicObject,
    name: String,
    uid: String,
    version: String,
}

impl Workload {
    /// One that lacks pods, as its controller left it.
    async fn new(lab: &Lab, kind: &str, name: &str) -> Self {
        let group = if kind == "Job" { "batch" } else { "apps" };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let api: Api<DynamicObject> = Api::namespaced_with(lab.client.clone(), &lab.namespace, &resource);
        let labels = json!({"app": name, "tunmesh.io/mesh": "m"});
        let restart = if kind == "Job" { "Never" } else { "Always" };
        let pod = json!({"containers": [{"name": "app", "image": "app"}], "restartPolicy": restart});
        let mut object = json!({
            "apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": name},
            "spec": {"template": {"metadata": {"labels": labels}, "spec": pod}},
        });
        if kind != "Job" {
            object["spec"]["selector"] = json!({"matchLabels": {"app": name}});
        }
        let stored = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        let events = lab.api();
        let uid = stored.uid().unwrap();
        let mut workload = Self { api, events, stored, name: name.into(), uid, version: String::new() };
        workload.look().await;
        workload.version = workload.version().await;
        workload
    }

    /// Its controller looks at it.
    async fn look(&self) {
        let status = match self.kind() {
            "DaemonSet" => json!({
                "observedGeneration": 1, "currentNumberScheduled": 0, "desiredNumberScheduled": 2,
                "numberMisscheduled": 0, "numberReady": 0,
            }),
            "Job" => json!({"active": 0, "ready": 0, "terminating": 0}),
            _ => json!({"observedGeneration": 1, "replicas": 0}),
        };
        let status = Patch::Merge(json!({"status": status}));
        self.api.patch_status(&self.name, &PatchParams::default(), &status).await.unwrap();
    }

    /// Whether its controller has yet to look, as far as its status says.
    async fn is_asked(&self) -> bool {
        let object = self.api.get(&self.name).await.unwrap();
        let field = if self.kind() == "Job" { "/status/terminating" } else { "/status/observedGeneration" };
        object.data.pointer(field).is_none_or(|value| self.kind() != "Job" && *value == json!(0))
    }

    fn kind(&self) -> &str {
        &self.stored.types.as_ref().unwrap().kind
    }

    /// Writes the Event of a controller whose pod was refused because `hook` could not be called.
    async fn refused(&self, hook: &str, uid: &str, second: usize) {
        let name = format!("{}.{second}", self.name);
        let at = format!("2026-01-01T00:00:{second:02}Z");
        let (types, namespace) = (self.stored.types.as_ref().unwrap(), self.stored.namespace());
        let about = json!({
            "apiVersion": types.api_version, "kind": types.kind, "namespace": namespace, "name": self.name, "uid": uid,
        });
        let event = json!({
            "metadata": {"name": name}, "involvedObject": about, "reason": "FailedCreate", "type": "Warning",
            "message": format!(
                "Error creating: Internal error occurred: failed calling webhook \"{hook}\": failed to call webhook: Post \
                 \"https://tunmesh-webhook.tunmesh-system.svc:443/mutate?timeout=5s\": dial tcp 10.0.0.7:443: connect: \
                 connection refused"
            ),
            "count": 7, "firstTimestamp": at, "lastTimestamp": at, "source": {"component": "a-controller"},
        });
        let event: Event = serde_json::from_value(event).unwrap();
        self.events.create(&PostParams::default(), &event).await.unwrap();
    }

    async fn version(&self) -> String {
        self.api.get(&self.name).await.unwrap().resource_version().unwrap()
    }
}
