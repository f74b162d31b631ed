//! How long a pod takes to be in its mesh.

use std::time::{Duration, SystemTime};

use futures::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::{Pod, PodStatus, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, LogParams, PostParams, WatchEvent, WatchParams};
use tokio::time::timeout;

use crate::support::{APP, IDLE, START, Stage, delete, median_and_p90, pod, stateful_set};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn a_pod_is_in_its_mesh_soon_after_the_same_pod_without_a_sidecar_would_be_ready() {
    let stage = Stage::new("latency").await;
    stage.mesh("home").await;
    stage.apply(&stateful_set("db", 1, Some("home"), IDLE));
    stage.pods("app=db", 1).await;
    let [to, _] = stage.addresses("db-0").await;
    let script = format!("until ping -qnc1 -W1 {to} >/dev/null; do :; done; echo reached; {IDLE}");
    let (mut called, mut made, mut reached, mut plain) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..RUNS {
        let name = format!("member-{number}");
        let member = member(&stage, &name, &script).await;
        called.push(member.called);
        made.push(member.made);
        reached.push(member.reached);
        plain.push(without_sidecar(&stage, &format!("plain-{number}")).await);
    }
    let [called, made, reached, plain] =
        [&mut called, &mut made, &mut reached, &mut plain].map(|values| median_and_p90(values));
    println!("of {RUNS} pods, median and 90th percentile in ms:");
    for (what, (median, p90)) in [
        ("call that makes a pod to Secret written, webhook included", called),
        ("pod made to Secret written", made),
        ("call to first ping through the mesh", reached),
        ("the same pod without a sidecar, call to ready", plain),
    ] {
        println!("  {what}: {} {}", median.as_millis(), p90.as_millis());
    }
    assert!(called.0 < Duration::from_millis(300), "{called:?}");
    assert!(made.0 < Duration::from_millis(100), "{made:?}");
    assert!(reached.0 < plain.0 + Duration::from_secs(1), "{reached:?} {plain:?}");
}

/// A pod of the mesh on its way.
struct Member {
    /// From the call that made it to its Secret.
    called: Duration,
    /// From the answer to that call to its Secret.
    made: Duration,
    /// From the call to its first answer through the mesh.
    reached: Duration,
}

async fn member(stage: &Stage, name: &str, script: &str) -> Member {
    let secrets: Api<Secret> = stage.api();
    let from = secrets.list_metadata(&Default::default()).await.unwrap().metadata.resource_version.unwrap_or_default();
    let mut events = secrets.watch_metadata(&WatchParams::default(), &from).await.unwrap().boxed();
    let (begun, pods) = create(stage, &pod(name, Some("home"), script)).await;
    let written = async {
        while let Some(event) = events.next().await {
            if let WatchEvent::Added(secret) = event.unwrap()
                && secret.name_any().starts_with("tunmesh-")
            {
                return since(begun);
            }
        }
        panic!("the watch of Secrets ended");
    };
    let answered = since(begun);
    let called = timeout(START, written).await.unwrap();
    let made = called.saturating_sub(answered);
    until(&pods, name, |status| status.phase.as_deref() == Some("Running")).await;
    let params = LogParams { container: Some(APP.into()), follow: true, timestamps: true, ..LogParams::default() };
    let mut lines = pods.log_stream(name, &params).await.unwrap().lines();
    let line = timeout(START, lines.next()).await.unwrap().expect("the log ended").unwrap();
    let (at, text) = line.split_once(' ').unwrap();
    assert_eq!(text, "reached");
    // The runtime of the node notes when a line was written; node and test have one clock.
    let reached = SystemTime::from(at.parse::<Timestamp>().unwrap()).duration_since(begun).unwrap();
    delete(&pods, name).await;
    Member { called, made, reached }
}

/// From the creation of a pod until it is ready.
async fn without_sidecar(stage: &Stage, name: &str) -> Duration {
    let (begun, pods) = create(stage, &pod(name, None, IDLE)).await;
    until(&pods, name, is_ready).await;
    let took = since(begun);
    delete(&pods, name).await;
    took
}

/// Waits until the status of a pod is as wanted, without asking again and again, which would take time from the kubelet.
async fn until(pods: &Api<Pod>, name: &str, wanted: impl Fn(&PodStatus) -> bool) {
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = pods.watch(&params, "0").await.unwrap().boxed();
    let seen = async {
        while let Some(event) = events.next().await {
            let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event.unwrap() else { continue };
            if pod.status.as_ref().is_some_and(&wanted) {
                return;
            }
        }
        panic!("the watch of the pod ended");
    };
    timeout(START, seen).await.unwrap();
}

fn is_ready(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Makes the pod, with the token of a service account that pods have unless they say otherwise; when the API server was asked to.
async fn create(stage: &Stage, yaml: &str) -> (SystemTime, Api<Pod>) {
    let mut pod: Pod = serde_saphyr::from_str(yaml).unwrap();
    pod.spec.as_mut().unwrap().automount_service_account_token = None;
    let pods = stage.api::<Pod>();
    let begun = SystemTime::now();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    (begun, pods)
}

fn since(begun: SystemTime) -> Duration {
    begun.elapsed().unwrap_or_default()
}

const RUNS: usize = 50;
