use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tunmesh_crds::{AddressPhase, TunMesh, TunMeshAddress, TunMeshMember};

use crate::lab::{Lab, Operator, eventually};

#[tokio::test]
async fn a_pod_made_again_under_its_name_is_another_member() {
    let lab = Lab::new("remade").await;
    let operator = Operator::start(lab.client.clone()).await;
    let mesh = lab.mesh("m", json!({})).await;
    lab.pod("web", "m", json!({})).await;
    let first = lab.address("web").await;

    // The member of the first one is still there when the second comes.
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    lab.api::<k8s_openapi::api::core::v1::Pod>().delete("web", &at_once).await.unwrap();
    let again = json!({"metadata": {"annotations": {"tunmesh.io/secret": "tunmesh-second"}}});
    let second = lab.pod("web", "m", again).await;
    let uid = second.uid().unwrap();
    lab.secret("tunmesh-second").await;
    let member = lab
        .member("web", |member| {
            member.spec.pod.as_ref().is_some_and(|pod| pod.uid == uid)
                && member.status.as_ref().is_some_and(|status| status.addresses.ipv4.is_some())
        })
        .await;

    let address = member.status.unwrap().addresses.ipv4.unwrap();
    assert_ne!(address, first);
    // The first one's address rests, and is free in the end.
    let claims = || async {
        let claims = lab.claims(&mesh).await;
        (claims.len() == 1).then(|| claims[0].spec.address)
    };
    assert_eq!(eventually("one claim", claims, |_| true).await.to_string(), address.to_string());
    operator.stop().await;
}

#[tokio::test]
async fn the_place_in_a_stateful_set_keeps_its_address() {
    let lab = Lab::new("set").await;
    let operator = Operator::start(lab.client.clone()).await;
    let mesh = lab.mesh("m", json!({})).await;
    let set = lab.stateful_set("db").await;
    let owned = |secret: &str| -> Value {
        json!({"metadata": {
            "annotations": {"tunmesh.io/secret": secret},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": set.uid().unwrap(), "controller": true,
            }],
        }})
    };
    lab.pod("db-0", "m", owned("s-0")).await;
    lab.pod("db-1", "m", owned("s-1")).await;
    let (first, other) = (lab.address("db-0").await, lab.address("db-1").await);
    assert_ne!(first, other);

    lab.delete_pod("db-0").await;
    lab.pod("db-0", "m", owned("s-0-again")).await;
    lab.secret("s-0-again").await;

    assert_eq!(lab.address("db-0").await, first);
    // With the set go its addresses.
    lab.delete_pod("db-0").await;
    lab.delete_pod("db-1").await;
    lab.api::<StatefulSet>().delete("db", &DeleteParams::default()).await.unwrap();
    lab.pod("db-2", "m", owned("s-2")).await;
    lab.delete_pod("db-2").await;
    let left = || async {
        let claims = lab.claims(&mesh).await;
        (claims.is_empty()
            || claims.iter().all(|it| it.status.as_ref().is_some_and(|it| it.phase != Some(AddressPhase::Claimed))))
        .then_some(())
    };
    eventually("no claim", left, |()| true).await;
    operator.stop().await;
}

#[tokio::test]
async fn an_address_rests_for_the_longest_certificate_that_was_issued_for_it() {
    let lab = Lab::new("lifetimes").await;
    let operator = Operator::start_resting(lab.client.clone()).await;
    let mesh = lab.mesh("m", json!({"addressPools": ["10.77.0.0/16"], "trust": {"certificateLifetime": "2h"}})).await;
    let wants = |secret: &str| json!({"metadata": {"annotations": {"tunmesh.io/address": "10.77.0.9", "tunmesh.io/secret": secret}}});
    lab.pod("web", "m", wants("s-web")).await;
    let issued = |after: Option<Time>| {
        let lab = &lab;
        async move {
            let ends = |member: &TunMeshMember| Some(member.status.as_ref()?.material.as_ref()?.expires.clone());
            ends(&lab.member("web", |member| ends(member).is_some_and(|end| Some(end) != after)).await)
        }
    };
    let set = |lifetime: &'static str| {
        let spec = json!({"spec": {"trust": {"certificateLifetime": lifetime}}});
        let api = lab.api::<TunMesh>();
        async move { api.patch("m", &PatchParams::default(), &Patch::Merge(spec)).await.unwrap() }
    };

    // The second certificate lasts longest, and is still good when the last is issued and its owner goes.
    let first = issued(None).await;
    set("48h").await;
    let second = issued(first).await;
    set("1h").await;
    issued(second).await;
    lab.delete_pod("web").await;
    lab.pod("other", "m", json!({})).await;
    lab.address("other").await;

    let claim = |owner: &'static str, phase: AddressPhase| {
        let (lab, mesh) = (&lab, &mesh);
        let find = move || async move {
            let claims = lab.claims(mesh).await.into_iter();
            let its = |claim: &TunMeshAddress| claim.status.as_ref().and_then(|status| status.phase) == Some(phase);
            claims.filter(its).find(|claim| claim.spec.owner.name == owner)
        };
        async move { eventually(owner, find, |_| true).await.spec.certificate_lifetime.to_string() }
    };
    assert_eq!(claim("web", AddressPhase::Quarantined).await, "48h");
    assert_eq!(claim("other", AddressPhase::Claimed).await, "1h");
    // The next pod that asks for it has it with what is known of it.
    lab.pod("next", "m", wants("s-next")).await;
    assert_eq!(claim("next", AddressPhase::Claimed).await, "48h");
    operator.stop().await;
}
