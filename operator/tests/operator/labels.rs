use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tunmesh_crds::TunMeshMember;

use crate::lab::{Lab, Operator, eventually};

async fn label(lab: &Lab, pod: &str, mesh: Value) {
    let labels = json!({"metadata": {"labels": {"tunmesh.io/mesh": mesh}}});
    lab.api::<Pod>().patch(pod, &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
}

async fn no_member(lab: &Lab, name: &str) {
    let gone = || async { lab.api::<TunMeshMember>().get_opt(name).await.unwrap().is_none().then_some(()) };
    eventually("no member", gone, |()| true).await;
}

fn is_provided(member: &TunMeshMember) -> bool {
    member.status.as_ref().is_some_and(|status| status.ready && status.material.is_some())
}

#[tokio::test]
async fn a_running_pod_without_its_label_is_no_member_and_its_address_nobody_elses() {
    let lab = Lab::new("unlabelled").await;
    let operator = Operator::start(lab.client.clone()).await;
    let mesh = lab.mesh("m", json!({})).await;
    lab.pod("web", "m", json!({})).await;
    lab.runs("web", "192.0.2.7").await;
    lab.member("web", is_provided).await;
    let (address, secret) = (lab.address("web").await, lab.secret("tunmesh-web").await);
    let claim = lab.claims(&mesh).await[0].uid();

    label(&lab, "web", Value::Null).await;

    no_member(&lab, "web").await;
    let note = lab.event("web", "LabelRemoved").await;
    assert!(note.contains("put the label back"), "{note}");
    lab.mesh_when("m", |mesh| mesh.status.as_ref().is_some_and(|status| status.members.total == 0)).await;
    assert_eq!(lab.secret("tunmesh-web").await, secret);

    label(&lab, "web", json!("m")).await;

    lab.member("web", is_provided).await;
    assert_eq!(lab.address("web").await, address);
    assert_eq!(lab.claims(&mesh).await[0].uid(), claim);
    operator.stop().await;
}

#[tokio::test]
async fn a_pod_that_takes_its_label_off_before_it_takes_another_gets_no_secret_of_that_mesh_either() {
    let lab = Lab::new("relabelled").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("a", json!({"addressPools": ["10.77.0.0/16"]})).await;
    lab.mesh("b", json!({"addressPools": ["10.78.0.0/16"]})).await;
    lab.pod("web", "a", json!({})).await;
    lab.runs("web", "192.0.2.7").await;
    lab.member("web", is_provided).await;
    let secret = lab.secret("tunmesh-web").await;

    label(&lab, "web", Value::Null).await;
    no_member(&lab, "web").await;
    label(&lab, "web", json!("b")).await;
    lab.event("web", "SecretNotOurs").await;

    assert_eq!(lab.secret("tunmesh-web").await, secret);
    operator.stop().await;
}

#[tokio::test]
async fn a_label_that_was_taken_off_while_no_operator_ran_is_missed_at_its_start() {
    let lab = Lab::new("meanwhile").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({})).await;
    lab.pod("stays", "m", json!({})).await;
    lab.pod("web", "m", json!({})).await;
    for pod in ["stays", "web"] {
        lab.runs(pod, "192.0.2.7").await;
        lab.member(pod, is_provided).await;
    }
    operator.stop().await;

    label(&lab, "web", Value::Null).await;
    let operator = Operator::start(lab.client.clone()).await;

    no_member(&lab, "web").await;
    lab.member("stays", is_provided).await;
    operator.stop().await;
}
