//! The webhook as a real API server calls it. Needs etcd and kube-apiserver (`tunmesh_e2e::api_server`).
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, CustomResourceExt, ResourceExt};
use prometheus::Registry;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tunmesh_crds::TunMesh;
use tunmesh_crds::names::{SECRET_ANNOTATION, SIDECAR};
use tunmesh_e2e::api_server::ApiServer;
use tunmesh_operator::inject::Defaults;
use tunmesh_operator::layout::WEBHOOK;
use tunmesh_operator::webhook::{self, Directory, ServeError};

#[tokio::test]
async fn a_pod_with_the_label_gets_the_sidecar_and_a_secret_of_its_own() {
    let stage = Stage::set("label").await;
    let server = stage.serve().await;
    stage.until_called().await;

    let made = stage.create(pod("web", json!({}))).await.unwrap();

    let sidecar = &made.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[0];
    assert_eq!(sidecar.name, SIDECAR);
    let secret = made.annotations()[SECRET_ANNOTATION].clone();
    assert!(secret.starts_with("tunmesh-"), "{secret}");
    let other = stage.create(pod("other", json!({}))).await.unwrap();
    assert_ne!(other.annotations()[SECRET_ANNOTATION], secret);

    server.end().await.unwrap();
}

#[tokio::test]
async fn a_pod_keeps_its_secret_when_the_webhook_is_called_again() {
    let stage = Stage::set("again").await;
    let server = stage.serve().await;
    stage.until_called().await;
    for tun in ["NodeHelper", "HostDevice"] {
        let annotated = json!({"metadata": {"annotations": {"tunmesh.io/tun": tun}}});
        let made = stage.create(pod(&format!("first-{}", tun.to_lowercase()), annotated)).await.unwrap();
        let secret = made.annotations()[SECRET_ANNOTATION].clone();

        // As the webhook sees it then: with every default of the API server.
        let mut again = serde_json::to_value(made).unwrap();
        again["metadata"] = json!({
            "name": format!("again-{}", tun.to_lowercase()),
            "labels": again["metadata"]["labels"],
            "annotations": again["metadata"]["annotations"],
        });
        let stored = stage.create(again.clone()).await.unwrap();
        assert_eq!(stored.annotations()[SECRET_ANNOTATION], secret);
        assert_eq!(stored.spec.unwrap().init_containers.unwrap().len(), 1);

        // With the Secret of a pod that exists it is another pod that wants it.
        let taken = json!({"metadata": {"name": secret}});
        let secrets = Api::<Secret>::namespaced(stage.client.clone(), &stage.namespace);
        secrets.create(&PostParams::default(), &serde_json::from_value(taken).unwrap()).await.unwrap();
        again["metadata"]["name"] = "thief".into();
        let refused = stage.create(again).await.unwrap_err();
        assert!(refused.contains(&format!("names the Secret {secret} of another pod")), "{refused}");
    }
    server.end().await.unwrap();
}

#[tokio::test]
async fn every_refusal_is_told_to_whoever_makes_the_pod() {
    let stage = Stage::set("refusals").await;
    let server = stage.serve().await;
    stage.until_called().await;
    let labelled = |labels: Value| json!({"metadata": {"labels": labels}});
    let cases = [
        (
            labelled(json!({"tunmesh.io/mesh": "no"})),
            "/no of the label tunmesh.io/mesh does not exist: make it, correct",
        ),
        (labelled(json!({"tunmesh.io/mesh": ""})), "metadata.labels[tunmesh.io/mesh] is \"\": write the name of"),
        (
            labelled(json!({"tunmesh.io/mesh": "../../../nodes"})),
            "metadata.labels[tunmesh.io/mesh] is \"../../../nodes\"",
        ),
        (labelled(json!({"tunmesh.io/mesh-namespace": "default"})), "the TunMesh default/m of the label"),
        (
            labelled(json!({"tunmesh.io/mesh": "other", "tunmesh.io/mesh-namespace": stage.operator})),
            "may not join the TunMesh",
        ),
        (json!({"spec": {"hostNetwork": true}}), "spec.hostNetwork is true"),
        (json!({"metadata": {"annotations": {"tunmesh.io/cpu-limit": "lots"}}}), "is \"lots\": write a quantity"),
        (json!({"metadata": {"annotations": {SECRET_ANNOTATION: "another"}}}), "is written by the webhook only"),
        (json!({"spec": {"initContainers": [{"name": SIDECAR, "image": "i"}]}}), "is not the sidecar of the current"),
    ];
    stage.mesh(&stage.operator, "other").await;
    for (index, (change, text)) in cases.into_iter().enumerate() {
        let refused = stage.create(pod(&format!("p{index}"), change)).await.unwrap_err();

        assert!(refused.contains("denied the request: Tun Mesh: "), "{refused}");
        assert!(refused.contains(text), "{text}: {refused}");
    }
    assert!(server.metrics().contains("tunmesh_webhook_verdicts_total{verdict=\"HostNetwork\"} 1"));
    server.end().await.unwrap();
}

#[tokio::test]
async fn without_the_webhook_other_pods_are_made_and_ours_are_not() {
    let stage = Stage::set("down").await;
    let server = stage.serve().await;
    stage.until_called().await;
    server.end().await.unwrap();
    let mut unlabelled = pod("unlabelled", json!({}));
    unlabelled["metadata"]["labels"] = json!({"app": "other"});

    let made = stage.create(unlabelled).await.unwrap();
    let refused = stage.create(pod("labelled", json!({}))).await.unwrap_err();

    assert_eq!(made.spec.unwrap().init_containers, None);
    assert!(refused.contains("failed calling webhook"), "{refused}");

    let back = stage.serve().await;
    stage.until_called().await;
    stage.create(pod("labelled", json!({}))).await.unwrap();
    back.end().await.unwrap();
}

#[tokio::test]
async fn a_changed_bundle_is_put_right_and_nothing_else_is_touched() {
    let stage = Stage::set("bundle").await;
    let server = stage.serve().await;
    stage.until_called().await;
    let right = stage.bundle().await;

    let break_it = json!([
        {"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"},
        {"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 7},
    ]);
    let break_it = Patch::Json::<()>(serde_json::from_value(break_it).unwrap());
    let broken = stage.configurations().patch(WEBHOOK, &PatchParams::default(), &break_it).await.unwrap();
    assert_eq!(bundle_of(&broken), None);

    // Seen at once, and not by the next look after half a minute.
    let repaired = until(async || stage.bundle().await == right);
    timeout(Duration::from_secs(20), repaired).await.unwrap();
    let webhooks = stage.configurations().get(WEBHOOK).await.unwrap().webhooks.unwrap();
    assert_eq!(webhooks[0].timeout_seconds, Some(7));
    server.end().await.unwrap();
}

#[tokio::test]
async fn replicas_share_one_authority() {
    let stage = Stage::set("replicas").await;
    let (first, second) = tokio::join!(stage.serve(), stage.serve());
    let bundle = stage.bundle().await.unwrap();
    assert_eq!(String::from_utf8(bundle).unwrap().matches("BEGIN CERTIFICATE").count(), 1);

    for server in [first, second] {
        stage.point_at(server.port).await;
        stage.until_called().await;
        server.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_authority_is_an_error_that_says_what_to_do() {
    let stage = Stage::set("damaged").await;
    let damaged = json!({"metadata": {"name": webhook::SECRET}, "stringData": {"ca-current.crt": "?"}});
    let secrets = Api::<Secret>::namespaced(stage.client.clone(), &stage.operator);
    secrets.create(&PostParams::default(), &serde_json::from_value(damaged).unwrap()).await.unwrap();

    let ended = stage.start().end().await;

    let Err(ServeError::Certificate(error)) = ended else { panic!("{ended:?}") };
    assert!(
        error.to_string().ends_with("tunmesh-webhook-ca holds no authority: delete it, and the operator makes another")
    );
}

#[tokio::test]
async fn an_authority_past_two_thirds_of_its_life_is_followed_by_another() {
    let stage = Stage::set("renewal").await;
    let (certificate, key) = authority(300, 65);
    let old = json!({"metadata": {"name": webhook::SECRET}, "stringData": {
        "ca-current.crt": certificate, "ca-current.key": key
    }});
    let secrets = Api::<Secret>::namespaced(stage.client.clone(), &stage.operator);
    secrets.create(&PostParams::default(), &serde_json::from_value(old).unwrap()).await.unwrap();

    let server = stage.serve().await;

    let bundle = String::from_utf8(stage.bundle().await.unwrap()).unwrap();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(bundle.ends_with(&certificate));
    stage.until_called().await;
    let stored = secrets.get(webhook::SECRET).await.unwrap().data.unwrap();
    assert_eq!(stored["ca-previous.crt"].0, certificate.as_bytes());
    assert_ne!(stored["ca-current.crt"].0, certificate.as_bytes());
    server.end().await.unwrap();
}

#[tokio::test]
async fn who_is_silent_or_sends_too_much_is_cut_off_and_others_are_served() {
    let stage = Stage::set("hostile").await;
    let server = stage.serve().await;
    stage.until_called().await;
    let mut silent = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
    let mut garbage = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
    garbage.write_all(&[0x5a; 1000]).await.unwrap();

    assert_eq!(server.post(&stage, "{").await, "HTTP/1.1 400 Bad Request");
    assert_eq!(server.post(&stage, "{}").await, "HTTP/1.1 422 Unprocessable Entity");
    let large = format!("{{\"kind\": \"{}\"}}", "a".repeat(5 << 20));
    assert_eq!(server.post(&stage, &large).await, "HTTP/1.1 413 Payload Too Large");
    stage.create(pod("web", json!({}))).await.unwrap();

    // Within the time for a handshake and what a busy machine adds.
    for stream in [&mut silent, &mut garbage] {
        timeout(LIMIT, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap_or_default();
    }
    server.end().await.unwrap();
}

/// A cluster with a mesh, and a configuration of the webhook, of which there is one for all tests: they take turns.
struct Stage {
    client: Client,
    namespace: String,
    operator: String,
    _turn: MutexGuard<'static, ()>,
}

/// A webhook of this process.
struct Server {
    port: u16,
    registry: Registry,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), ServeError>>,
}

/// Asks the API server every time.
struct Live {
    client: Client,
}

impl Directory for Live {
    async fn mesh(&self, namespace: &str, name: &str) -> Result<Option<Arc<TunMesh>>, kube::Error> {
        let meshes = Api::<TunMesh>::namespaced(self.client.clone(), namespace);
        Ok(meshes.get_opt(name).await?.map(Arc::new))
    }

    async fn namespace_labels(&self, name: &str) -> Result<BTreeMap<String, String>, kube::Error> {
        let namespace = Api::<Namespace>::all(self.client.clone()).get_metadata(name).await?;
        Ok(namespace.labels().clone())
    }
}

impl Stage {
    async fn set(test: &str) -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let server = ApiServer::shared().unwrap_or_else(|error| panic!("{error}"));
        let client = server.client().await.unwrap_or_else(|error| panic!("{error}"));
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        let definition = Patch::Apply(TunMesh::crd());
        definitions.patch(&TunMesh::crd().name_any(), &PatchParams::apply("test"), &definition).await.unwrap();
        let meshes = Api::<TunMesh>::all(client.clone());
        until(async || meshes.list(&Default::default()).await.is_ok()).await;
        let namespace = server.namespace(&client, test).await.unwrap();
        let operator = server.namespace(&client, "operator").await.unwrap();
        let stage = Self { client, namespace, operator, _turn: turn };
        stage.mesh(&stage.namespace, "m").await;
        // The API server reaches a Service of this type at its name, so that the name in the certificate counts.
        let service = json!({"metadata": {"name": "tunmesh-webhook"}, "spec": {"type": "ExternalName", "externalName": "localhost"}});
        let services = Api::<Service>::namespaced(stage.client.clone(), &stage.operator);
        services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
        let _none_the_first_time = stage.configurations().delete(WEBHOOK, &DeleteParams::default()).await;
        stage
    }

    async fn mesh(&self, namespace: &str, name: &str) {
        let meshes = Api::<TunMesh>::namespaced(self.client.clone(), namespace);
        meshes.create(&PostParams::default(), &TunMesh::new(name, Default::default())).await.unwrap();
    }

    fn configurations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    /// A webhook that the API server calls from now on.
    async fn serve(&self) -> Server {
        let server = self.start();
        self.point_at(server.port).await;
        until(async || self.bundle().await.is_some()).await;
        server
    }

    fn start(&self) -> Server {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let (registry, (stop, stopping)) = (Registry::new(), watch::channel(false));
        let (client, operator) = (self.client.clone(), self.operator.clone());
        let directory = Arc::new(Live { client: client.clone() });
        let defaults = Defaults { agent_image: "registry.example/tunmesh/agent:0.1.0".into() };
        let serving = webhook::serve(address, client, operator, directory, defaults, registry.clone(), stopping);
        let task = tokio::spawn(serving);
        Server { port: address.port(), registry, stop, task }
    }

    /// Has the API server call a webhook at this port of this machine.
    async fn point_at(&self, port: u16) {
        let service = json!({"namespace": self.operator, "name": "tunmesh-webhook", "path": "/mutate", "port": port});
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": WEBHOOK},
            "webhooks": [{
                "name": "pods.tunmesh.io",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"service": service},
                "failurePolicy": "Fail",
                "objectSelector": {"matchExpressions": [{"key": "tunmesh.io/mesh", "operator": "Exists"}]},
                "reinvocationPolicy": "IfNeeded",
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "sideEffects": "None",
                "timeoutSeconds": 5,
            }],
        });
        let patch = Patch::Apply(configuration);
        self.configurations().patch(WEBHOOK, &PatchParams::apply("test"), &patch).await.unwrap();
    }

    /// Waits until a pod is not made without its sidecar: the API server learns of a change some moments later.
    async fn until_called(&self) {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let probe = serde_json::from_value(pod("probe", json!({}))).unwrap();
        let called = async || {
            let made = pods.create(&dry_run, &probe).await;
            made.is_ok_and(|pod| pod.annotations().contains_key(SECRET_ANNOTATION))
        };
        until(called).await;
        let made = Api::<Secret>::namespaced(self.client.clone(), &self.namespace).list(&Default::default()).await;
        assert_eq!(made.unwrap().items, [], "a dry run makes nothing");
    }

    async fn bundle(&self) -> Option<Vec<u8>> {
        bundle_of(&self.configurations().get(WEBHOOK).await.unwrap())
    }

    /// Creates a pod, or says what the API server answers.
    async fn create(&self, pod: Value) -> Result<Pod, String> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let pod = serde_json::from_value(pod).unwrap_or_else(|error| panic!("{error}"));
        pods.create(&PostParams::default(), &pod).await.map_err(|error| {
            let kube::Error::Api(status) = error else { panic!("{error}") };
            status.message
        })
    }
}

impl Server {
    fn metrics(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }

    /// The first line of what a client over HTTP/1.1 is answered.
    async fn post(&self, stage: &Stage, body: &str) -> String {
        let bundle = stage.bundle().await.unwrap();
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&bundle) {
            roots.add(authority.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        let name = ServerName::try_from(format!("tunmesh-webhook.{}.svc", stage.operator)).unwrap();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
        let mut stream = TlsConnector::from(config).connect(name, stream).await.unwrap();
        let head = format!(
            "POST /mutate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // One who sends too much is answered before all of it is read.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    async fn end(self) -> Result<(), ServeError> {
        // One that failed listens no more.
        let _ = self.stop.send(true);
        timeout(LIMIT, self.task).await.unwrap().unwrap()
    }
}

/// A pod of mesh `m`, with the account that the admission for accounts, which is off here, would set.
fn pod(name: &str, change: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "labels": {"tunmesh.io/mesh": "m"}},
        "spec": {"serviceAccountName": "default", "containers": [{"name": "app", "image": "i"}]},
    });
    merge(&mut pod, change);
    pod
}

fn merge(whole: &mut Value, part: Value) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.into_iter().for_each(|(name, value)| merge(whole.entry(name).or_insert(Value::Null), value));
        }
        (whole, part) => *whole = part,
    }
}

/// Certificate and key, PEM, of an authority that began and will end so many days from now.
fn authority(began: u32, ends: u32) -> (String, String) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::default();
    let day = Duration::from_secs(24 * 3600);
    let now = UnixTime::now().as_secs();
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
    (params.not_before, params.not_after) = (now - day * began, now + day * ends);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn bundle_of(configuration: &MutatingWebhookConfiguration) -> Option<Vec<u8>> {
    Some(configuration.webhooks.as_ref()?.first()?.client_config.ca_bundle.as_ref()?.0.clone())
}

async fn until(condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, met).await.unwrap_or_else(|_| panic!("not within {} s", LIMIT.as_secs()));
}

/// Under load an API server takes its time.
const LIMIT: Duration = Duration::from_secs(60);
