use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tunmesh_crds::{TunMesh, TunMeshMember};

use crate::lab::{Lab, Operator, eventually, reason_of};

fn machine(mesh: &str, namespace: Option<&str>, advertised: &str) -> TunMeshMember {
    let mesh =
        namespace.map_or_else(|| json!({"name": mesh}), |namespace| json!({"name": mesh, "namespace": namespace}));
    let spec = json!({"mesh": mesh, "outside": {"advertisedAddress": advertised}});
    TunMeshMember::new("vm", serde_json::from_value(spec).unwrap())
}

#[tokio::test]
async fn a_machine_gets_no_certificate_of_an_address_of_the_mesh_by_saying_it_is_reached_there() {
    let lab = Lab::new("advertised").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({"addressPools": ["10.77.0.0/16"]})).await;
    lab.pod("victim", "m", json!({})).await;
    let victim = lab.address("victim").await;

    lab.api().create(&PostParams::default(), &machine("m", None, &victim.to_string())).await.unwrap();

    let refused = |member: &TunMeshMember| {
        let conditions = member.status.clone().unwrap_or_default().conditions;
        reason_of(&conditions, "Accepted") == "AdvertisedAddressUnusable"
    };
    lab.member("vm", refused).await;
    assert!(lab.api::<Secret>().get_opt("tunmesh-member-vm").await.unwrap().is_none());
    operator.stop().await;
}

#[tokio::test]
async fn a_pod_of_another_namespace_is_not_taken_for_a_place_in_a_stateful_set() {
    let lab = Lab::new("set-owner").await;
    let thief = Lab::new("set-thief").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({"members": {"namespaces": {"from": "All"}}})).await;
    let set = lab.stateful_set("db").await;
    let owned = || -> Value {
        let owner = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": set.uid().unwrap(), "controller": true,
        });
        json!({"metadata": {"ownerReferences": [owner], "labels": {"tunmesh.io/mesh-namespace": lab.namespace}}})
    };
    lab.pod("db-0", "m", owned()).await;
    let address = lab.address("db-0").await;

    thief.pod("db-0", "m", owned()).await;
    let note = thief.event("db-0", "AddressTaken").await;
    // A pod that a person made beside the controller's is no place either.
    lab.pod("db-00", "m", owned()).await;

    assert!(note.contains("there is no StatefulSet"), "{note}");
    assert!(thief.api::<Secret>().get_opt("tunmesh-db-0").await.unwrap().is_none());
    assert_ne!(lab.address("db-00").await, address);
    operator.stop().await;
}

#[tokio::test]
async fn what_a_mesh_does_not_take_is_in_none_of_its_slices() {
    let lab = Lab::new("taken").await;
    let elsewhere = Lab::new("not-taken").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({})).await;
    lab.pod("ours", "m", json!({})).await;
    lab.runs("ours", "192.0.2.1").await;
    let namespace = Some(&*lab.namespace);
    elsewhere.api().create(&PostParams::default(), &machine("m", namespace, "192.0.2.66")).await.unwrap();
    let label = json!({"metadata": {"labels": {"tunmesh.io/mesh-namespace": lab.namespace}}});
    elsewhere.pod("theirs", "m", label).await;
    elsewhere.runs("theirs", "192.0.2.67").await;
    // Our own, but of no use to anybody else: the API server takes no such endpoint.
    lab.api().create(&PostParams::default(), &machine("m", None, "127.0.0.1")).await.unwrap();
    lab.pod("last", "m", json!({})).await;
    lab.runs("last", "192.0.2.2").await;

    let addresses = || async {
        let of = ListParams::default().labels("kubernetes.io/service-name=tunmesh-m");
        let slices = lab.api::<EndpointSlice>().list(&of).await.unwrap();
        let endpoints = slices.items.into_iter().flat_map(|slice| slice.endpoints);
        let mut addresses: Vec<_> = endpoints.flat_map(|endpoint| endpoint.addresses).collect();
        addresses.sort();
        Some(addresses)
    };
    eventually("slices", addresses, |addresses| *addresses == ["192.0.2.1", "192.0.2.2"]).await;
    let mesh = lab.mesh_when("m", |mesh| mesh.status.as_ref().is_some_and(|status| status.members.ready == 2)).await;
    assert_eq!(mesh.status.unwrap().members.total, 3);
    operator.stop().await;
}

#[tokio::test]
async fn the_address_of_an_earlier_mesh_of_the_name_counts_for_nothing() {
    let lab = Lab::new("earlier").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({"addressPools": ["10.77.0.0/16"]})).await;
    lab.api().create(&PostParams::default(), &machine("m", None, "192.0.2.10")).await.unwrap();
    let first = lab.address("vm").await;
    lab.api::<TunMesh>().delete("m", &DeleteParams::default()).await.unwrap();
    let gone = || async { lab.api::<TunMesh>().get_opt("m").await.unwrap().is_none().then_some(()) };
    eventually("no mesh", gone, |()| true).await;

    let again = lab.mesh("m", json!({"addressPools": ["10.78.0.0/16"]})).await;
    let moved = |member: &TunMeshMember| {
        let ipv4 = member.status.as_ref().and_then(|status| status.addresses.ipv4);
        ipv4.is_some_and(|address| address != first)
    };
    let member = lab.member("vm", moved).await;

    let address = member.status.unwrap().addresses.ipv4.unwrap();
    assert_eq!(lab.claims(&again).await[0].spec.address, std::net::IpAddr::from(address));
    operator.stop().await;
}

#[tokio::test]
async fn a_pod_that_changes_its_label_gets_nothing_of_the_other_mesh() {
    let lab = Lab::new("label").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("a", json!({"addressPools": ["10.77.0.0/16"]})).await;
    let b = lab.mesh("b", json!({"addressPools": ["10.78.0.0/16"]})).await;
    lab.pod("web", "a", json!({})).await;
    lab.member("web", |member| member.status.as_ref().is_some_and(|it| it.material.is_some())).await;
    let before = lab.secret("tunmesh-web").await;

    let label = json!({"metadata": {"labels": {"tunmesh.io/mesh": "b"}}});
    lab.api::<Pod>().patch("web", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    lab.event("web", "NotThePod").await;

    assert_eq!(lab.secret("tunmesh-web").await, before);
    assert!(lab.claims(&b).await.is_empty());
    operator.stop().await;
}
