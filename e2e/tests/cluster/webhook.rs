//! What happens while the operator is away, and after its return.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams};

use crate::support::{IDLE, START, SYSTEM, Stage, daemon_set, deployment, eventually, job, pod, stateful_set};

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
    for workload in [
        deployment("many", 3, Some("home"), IDLE),
        stateful_set("set", 2, Some("home"), IDLE),
        daemon_set("each", Some("home"), IDLE),
        job("once", Some("home"), IDLE),
    ] {
        stage.apply(&workload);
    }
    let daemons = eventually("the count of nodes for the DaemonSet", START, || async {
        let status = stage.api::<DaemonSet>().get("each").await.unwrap().status.unwrap_or_default();
        if status.desired_number_scheduled > 0 { Ok(status.desired_number_scheduled) } else { Err(status) }
    })
    .await;
    let waiting = [("many", 3), ("set", 2), ("each", usize::try_from(daemons).unwrap()), ("once", 1)];
    // By then the next attempt of any of their controllers is more than 15 s away.
    eventually("refusals of each over half a minute", START, || async {
        let refused = refusals(&stage).await;
        let all = refused.len() == waiting.len() && refused.values().all(|over| *over >= Duration::from_secs(30));
        if all { Ok(()) } else { Err(refused) }
    })
    .await;
    let pods: Api<Pod> = stage.api();
    let made =
        async |name: &str| pods.list(&ListParams::default().labels(&format!("app={name}"))).await.unwrap().items.len();
    for (name, _) in waiting {
        assert_eq!(made(name).await, 0, "{name}");
    }

    let returned = operator.back();
    for (name, count) in waiting {
        let made = async || {
            let made = made(name).await;
            if made == count { Ok(()) } else { Err(made) }
        };
        eventually(&format!("{count} pods of {name}"), START, made).await;
        println!(
            "{count} waiting pods of {name} were made at most {:.1} s after the operator was ready",
            returned.elapsed().as_secs_f64()
        );
    }
    let took = returned.elapsed();
    for (name, count) in waiting {
        stage.pods(&format!("app={name}"), count).await;
        println!("those of {name} were ready after {:.1} s at most", returned.elapsed().as_secs_f64());
    }
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Until then their nodes have two processors to start eight pods with.
    assert!(returned.elapsed() < Duration::from_secs(30), "{:?}", returned.elapsed());
}

/// By kind: for how long pods have been refused because the webhook could not be called.
async fn refusals(stage: &Stage) -> BTreeMap<String, Duration> {
    let failed = ListParams::default().fields("reason=FailedCreate");
    let events = stage.api::<Event>().list(&failed).await.unwrap().items.into_iter();
    let ours =
        events.filter(|event| event.message.as_ref().is_some_and(|text| text.contains("failed calling webhook")));
    let mut refusals = BTreeMap::new();
    for event in ours {
        let (Some(first), Some(last)) = (event.first_timestamp, event.last_timestamp) else { continue };
        let over = Duration::try_from(last.0.duration_since(first.0)).unwrap();
        let longest: &mut Duration = refusals.entry(event.involved_object.kind.unwrap()).or_default();
        *longest = over.max(*longest);
    }
    refusals
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
