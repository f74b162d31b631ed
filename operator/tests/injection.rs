//! Pods with the sidecar on a real API server that enforces PodSecurity. Needs etcd and kube-apiserver
//! (`tunmesh_e2e::api_server`).
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tunmesh_crds::{TunMesh, TunMode};
use tunmesh_e2e::api_server::ApiServer;
use tunmesh_operator::inject::{Defaults, Injection, Request, inject};

#[tokio::test]
async fn a_pod_with_the_sidecar_is_taken_where_pod_security_is_restricted() {
    let (client, namespace) = cluster("restricted", "restricted").await;
    let pods = Api::<Pod>::namespaced(client, &namespace);
    let bare = serde_json::from_value(
        json!({"metadata": {"name": "bare"}, "spec": {"containers": [{"name": "a", "image": "i"}]}}),
    );
    let refused = pods.create(&PostParams::default(), &bare.unwrap()).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.message.contains("violates PodSecurity")));

    let stored = pods.create(&PostParams::default(), &injected(TunMode::NodeHelper, &namespace)).await.unwrap();

    let sidecar = &stored.spec.unwrap().init_containers.unwrap()[0];
    assert_eq!(sidecar.restart_policy.as_deref(), Some("Always"));
}

#[tokio::test]
async fn a_pod_that_makes_its_device_is_taken_where_pod_security_is_privileged_only() {
    let (client, baseline) = cluster("baseline", "baseline").await;
    let pods = Api::<Pod>::namespaced(client, &baseline);
    let refused = pods.create(&PostParams::default(), &injected(TunMode::HostDevice, &baseline)).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.message.contains("violates PodSecurity")));

    let (client, privileged) = cluster("privileged", "privileged").await;
    let pods = Api::<Pod>::namespaced(client, &privileged);
    pods.create(&PostParams::default(), &injected(TunMode::HostDevice, &privileged)).await.unwrap();
}

/// A pod of which all but the sidecar is fit for `restricted`.
fn injected(tun: TunMode, namespace: &str) -> Pod {
    let mut mesh = TunMesh::new("m", Default::default());
    mesh.metadata.namespace = Some(namespace.to_owned());
    mesh.spec.sidecar.tun = tun;
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {"tunmesh.io/mesh": "m"}},
        "spec": {
            // As the admission for accounts, which is off here, would set it.
            "serviceAccountName": "default",
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "app", "image": "i", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}
            }}],
        },
    });
    let typed: Pod = serde_json::from_value(pod.clone()).unwrap();
    let defaults = Defaults { agent_image: "registry.example/tunmesh/agent:0.1.0".into() };
    let labels = BTreeMap::new();
    let request = Request { pod: &typed, namespace, namespace_labels: &labels, mesh: &mesh, defaults: &defaults };
    let Injection::Add { patch, .. } = inject(&request, "tunmesh-0").unwrap() else { panic!("nothing was added") };
    json_patch::patch(&mut pod, &patch).unwrap();
    serde_json::from_value(pod).unwrap()
}

/// A client, and a namespace of the test's own at this level of PodSecurity.
async fn cluster(test: &str, level: &str) -> (Client, String) {
    let server = ApiServer::shared().unwrap_or_else(|error| panic!("{error}"));
    let client = server.client().await.unwrap_or_else(|error| panic!("{error}"));
    let namespace = server.namespace(&client, test).await.unwrap();
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces.patch(&namespace, &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
    (client, namespace)
}
