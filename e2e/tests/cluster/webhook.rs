//! What happens while the operator is away, and after its return.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use crate::support::{IDLE, START, SYSTEM, Stage, deployment, eventually, pod};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn without_the_operator_other_pods_start_and_those_of_a_mesh_wait_for_its_return() {
    let stage = Stage::new("away").await;
    stage.mesh("home").await;
    let operator = Away::new(&stage).await;

    stage.apply(&pod("plain", None, IDLE));
    stage.pods("app=plain", 1).await;
    let refused = stage.cluster.apply(&stage.namespace, &pod("member", Some("home"), IDLE)).unwrap_err().to_string();
    assert!(refused.contains("inject.tunmesh.io") && refused.contains("failed calling webhook"), "{refused}");
    println!("refused: {refused}");
    stage.apply(&deployment("waiting", 3, Some("home"), IDLE));
    let pods: Api<Pod> = stage.api();
    eventually("the refusal of the Deployment's pods", START, || async {
        let events = stage.kubectl(&["get", "events", "--field-selector=reason=FailedCreate"]);
        if events.contains("failed calling webhook") { Ok(()) } else { Err(events) }
    })
    .await;
    assert_eq!(pods.list(&ListParams::default().labels("app=waiting")).await.unwrap().items.len(), 0);

    let returned = operator.back();
    stage.pods("app=waiting", 3).await;
    let took = returned.elapsed();
    println!("three waiting pods were ready {:.1} s after the operator was", took.as_secs_f64());
    assert!(took < Duration::from_secs(30), "{took:?}");
}

/// No operator; it comes back with [`Away::back`], or with the end of the test.
struct Away<'a>(&'a Stage);

impl<'a> Away<'a> {
    async fn new(stage: &'a Stage) -> Self {
        let away = Self(stage);
        away.scale(0);
        let pods = Api::<Pod>::namespaced(stage.client.clone(), SYSTEM);
        eventually("the end of the operator", START, || async {
            let pods =
                pods.list(&ListParams::default().labels("app.kubernetes.io/component=operator")).await.unwrap().items;
            if pods.is_empty() { Ok(()) } else { Err(pods.len()) }
        })
        .await;
        away
    }

    /// When it was ready.
    fn back(self) -> Instant {
        self.scale(1);
        let status = ["--namespace", SYSTEM, "rollout", "status", "deployment/tunmesh-operator", "--timeout=120s"];
        self.0.cluster.kubectl(&status).unwrap_or_else(|error| panic!("{error}"));
        Instant::now()
    }

    fn scale(&self, replicas: u8) {
        let replicas = format!("--replicas={replicas}");
        let scaled =
            self.0.cluster.kubectl(&["--namespace", SYSTEM, "scale", "deployment/tunmesh-operator", &replicas]);
        scaled.unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.scale(1);
    }
}
