//! Addresses stay with those they belong to, and nothing is left of those that end.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use tunmesh_crds::TunMeshMember;

use crate::support::{IDLE, START, Stage, eventually, job, node, stateful_set};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn a_stateful_set_keeps_its_addresses_over_deletion_drain_and_rollout() {
    let stage = Stage::new("set").await;
    stage.mesh("home").await;
    stage.apply(&stateful_set("db", 3, Some("home"), IDLE));
    let first = members(&stage, "db", 3).await;

    stage.kubectl(&["delete", "pod", "db-1"]);
    assert_eq!(members(&stage, "db", 3).await, first, "after the deletion of a pod");

    let pods = stage.pods("app=db", 3).await;
    let drained = node(&pods[0]);
    let options = ["--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s"];
    let of_the_test = format!("--pod-selector=app=db,{}", tunmesh_crds::names::MESH_LABEL);
    stage.kubectl(&[&["drain", &drained, &of_the_test], &options[..]].concat());
    let elsewhere = members(&stage, "db", 3).await;
    let pods = stage.pods("app=db", 3).await;
    stage.kubectl(&["uncordon", &drained]);
    assert_eq!(elsewhere, first, "after a drain");
    assert!(pods.iter().all(|pod| node(pod) != drained), "{drained} was drained");

    stage.kubectl(&["rollout", "restart", "statefulset/db"]);
    stage.kubectl(&["rollout", "status", "statefulset/db", "--timeout=120s"]);
    assert_eq!(members(&stage, "db", 3).await, first, "after a rollout");
    let [to, _] = first["db-2"];
    stage.shell("db-0", &format!("ping -qnc1 -w5 {to}"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn a_job_reaches_its_mesh_and_completes() {
    let stage = Stage::new("job").await;
    stage.mesh("home").await;
    stage.apply(&stateful_set("db", 1, Some("home"), IDLE));
    stage.pods("app=db", 1).await;
    let [to, _] = stage.addresses("db-0").await;

    stage.apply(&job("once", Some("home"), &format!("ping -qnc1 -w5 {to}")));

    completed(&stage, "once").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn twenty_jobs_one_after_the_other_leave_nothing() {
    let stage = Stage::new("twenty").await;
    let mesh = stage.mesh("home").await;
    let uid = mesh.uid().unwrap();
    let kept = stage.made_for(&uid).await;
    for number in 0..20 {
        let name = format!("tick-{number}");
        stage.apply(&job(&name, Some("home"), "true"));
        completed(&stage, &name).await;
        // As a CronJob with a history limit of none does.
        stage.api::<Job>().delete(&name, &DeleteParams::background()).await.unwrap();
    }
    eventually("the end of all that was made for the jobs", START, || async {
        let left = stage.made_for(&uid).await;
        let more: Vec<_> = left.into_iter().filter(|name| !kept.contains(name)).collect();
        if more.is_empty() { Ok(()) } else { Err(more) }
    })
    .await;
}

async fn completed(stage: &Stage, name: &str) {
    let jobs = stage.api::<Job>();
    let pods: Api<Pod> = stage.api();
    eventually(&format!("the completion of Job {name}"), START, || async {
        let status = jobs.get(name).await.unwrap().status.unwrap_or_default();
        assert_eq!(status.failed.unwrap_or_default(), 0, "Job {name} failed");
        if status.succeeded == Some(1) && status.completion_time.is_some() {
            return Ok(());
        }
        let selector = format!("job-name={name}");
        let pods = pods.list(&ListParams::default().labels(&selector)).await.unwrap();
        Err(pods.items.into_iter().map(|pod| pod.status).collect::<Vec<_>>())
    })
    .await;
}

/// Addresses by pod, once all are ready.
async fn members(stage: &Stage, app: &str, count: usize) -> BTreeMap<String, [IpAddr; 2]> {
    let pods = stage.pods(&format!("app={app}"), count).await;
    let api = stage.api::<TunMeshMember>();
    let mut all = BTreeMap::new();
    for pod in pods {
        let name = pod.name_any();
        // The member of this very pod, not of the last one of its name.
        eventually(&format!("the member of pod {name}"), START, || async {
            let of = api.get(&name).await.unwrap().spec.pod.map(|pod| pod.uid);
            if of == pod.uid() { Ok(()) } else { Err(of) }
        })
        .await;
        all.insert(name.clone(), stage.addresses(&name).await);
    }
    all
}
