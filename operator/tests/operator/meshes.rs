use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tunmesh_crds::{TunMesh, TunMeshMember};

use crate::lab::{Lab, Operator, eventually, reason_of};

fn reason(mesh: &TunMesh, condition: &str) -> String {
    reason_of(&mesh.status.clone().unwrap_or_default().conditions, condition)
}

#[tokio::test]
async fn an_empty_spec_is_a_mesh_with_networks_an_authority_and_a_service() {
    let lab = Lab::new("empty").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({})).await;

    let mesh = lab.mesh_when("m", |mesh| reason(mesh, "TrustReady") == "Issued").await;

    let status = mesh.status.unwrap();
    let [IpNet::V4(ipv4), IpNet::V6(ipv6)] = status.address_pools[..] else { panic!("{status:?}") };
    assert!(ipv4.network().is_private() && ipv4.prefix_len() == 16 && ipv6.prefix_len() == 64);
    assert!(status.trust.authority_expires.is_some());
    assert_eq!(status.mtu, Some(1420));
    let service = lab.api::<Service>().get("tunmesh-m").await.unwrap();
    assert_eq!(service.spec.unwrap().cluster_ip.as_deref(), Some("None"));
    operator.stop().await;
}

#[tokio::test]
async fn a_mesh_with_an_issuer_of_cert_manager_is_told_that_there_is_no_support_and_gets_no_authority() {
    let lab = Lab::new("issuer").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({"trust": {"issuer": {"kind": "ClusterIssuer", "name": "corporate"}}})).await;

    let mesh = lab.mesh_when("m", |mesh| reason(mesh, "TrustReady") == "IssuerNotReady").await;

    let conditions = mesh.status.unwrap().conditions;
    let told = conditions.iter().find(|condition| condition.type_ == "TrustReady").unwrap();
    assert!(told.status == "False" && told.message.contains("not supported"), "{told:?}");
    assert!(lab.api::<Secret>().get_opt("tunmesh-m-trust").await.unwrap().is_none());
    operator.stop().await;
}

#[tokio::test]
async fn members_that_run_are_in_the_slices_of_the_service() {
    let lab = Lab::new("slices").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({"exposure": {"type": "NodePort", "advertisedAddresses": ["203.0.113.7"]}})).await;
    lab.pod("a", "m", json!({})).await;
    lab.pod("b", "m", json!({})).await;
    lab.runs("a", "192.0.2.1").await;
    lab.runs("b", "2001:db8::2").await;

    let addresses = || async {
        let of = ListParams::default().labels("kubernetes.io/service-name=tunmesh-m");
        let slices = lab.api::<EndpointSlice>().list(&of).await.unwrap();
        let mut addresses: Vec<_> = slices
            .items
            .into_iter()
            .flat_map(|slice| slice.endpoints)
            .flat_map(|endpoint| endpoint.addresses)
            .collect();
        addresses.sort();
        Some(addresses)
    };
    eventually("slices", addresses, |addresses| *addresses == ["192.0.2.1", "2001:db8::2"]).await;
    let mesh = lab.mesh_when("m", |mesh| mesh.status.as_ref().is_some_and(|it| !it.endpoints.is_empty())).await;
    assert!(mesh.status.unwrap().endpoints[0].starts_with("203.0.113.7:3"));

    let none = json!({"spec": {"exposure": {"type": "None", "advertisedAddresses": null}}});
    lab.api::<TunMesh>().patch("m", &PatchParams::default(), &Patch::Merge(none)).await.unwrap();
    let service = || async { lab.api::<Service>().get_opt("tunmesh-m-outside").await.unwrap().is_none().then_some(()) };
    eventually("no Service for the outside", service, |()| true).await;

    lab.delete_pod("b").await;
    eventually("one slice", addresses, |addresses| *addresses == ["192.0.2.1"]).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_network_that_the_cluster_uses_is_refused_and_nothing_is_made() {
    let lab = Lab::new("overlap").await;
    let operator = Operator::start(lab.client.clone()).await;
    // The Services of the API server of tests are in 10.0.0.0/24.
    lab.mesh("m", json!({"addressPools": ["10.0.0.0/16"]})).await;

    let mesh = lab.mesh_when("m", |mesh| reason(mesh, "Accepted") == "PoolOverlapsCluster").await;

    let conditions = mesh.status.unwrap().conditions;
    let accepted = conditions.iter().find(|condition| condition.type_ == "Accepted").unwrap();
    assert!(accepted.message.contains("10.0.0.0/24 (Services, ServiceCIDR"), "{accepted:?}");
    assert_eq!(reason_of(&conditions, "Ready"), "Degraded");
    assert!(lab.api::<Secret>().get_opt("tunmesh-m-trust").await.unwrap().is_none());
    operator.stop().await;
}

#[tokio::test]
async fn a_mesh_goes_on_with_what_it_has_while_its_spec_is_refused() {
    let lab = Lab::new("goeson").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({"addressPools": ["10.77.0.0/16"]})).await;
    lab.mesh_when("m", |mesh| reason(mesh, "Programmed") == "Written").await;

    let more = json!({"spec": {"addressPools": ["10.77.0.0/16", "10.0.0.0/24"]}});
    lab.api::<TunMesh>().patch("m", &PatchParams::default(), &Patch::Merge(more)).await.unwrap();
    lab.mesh_when("m", |mesh| reason(mesh, "Accepted") == "PoolOverlapsCluster").await;
    lab.pod("later", "m", json!({})).await;

    assert!(lab.secret("tunmesh-later").await["config.yaml"].contains("10.77."));
    operator.stop().await;
}

#[tokio::test]
async fn a_selector_that_is_none_is_refused_and_a_paused_mesh_gives_nothing() {
    let lab = Lab::new("selector").await;
    let operator = Operator::start(lab.client.clone()).await;
    let expressions = json!([{"key": "team", "operator": "Near", "values": ["a"]}]);
    let namespaces = json!({"from": "Selector", "selector": {"matchExpressions": expressions}});
    lab.mesh("s", json!({"members": {"namespaces": namespaces}})).await;
    lab.mesh_when("s", |mesh| reason(mesh, "Accepted") == "SelectorInvalid").await;

    lab.mesh("p", json!({"paused": true})).await;
    lab.mesh_when("p", |mesh| reason(mesh, "Programmed") == "Paused").await;
    lab.pod("web", "p", json!({})).await;
    lab.member("web", |_| true).await;
    assert!(lab.api::<Secret>().get_opt("tunmesh-web").await.unwrap().is_none());
    let go = json!({"spec": {"paused": false}});
    lab.api::<TunMesh>().patch("p", &PatchParams::default(), &Patch::Merge(go)).await.unwrap();
    lab.secret("tunmesh-web").await;
    operator.stop().await;
}

#[tokio::test]
async fn another_meshs_network_and_somebody_elses_service_are_left_alone() {
    let lab = Lab::new("others").await;
    let service = json!({"metadata": {"name": "tunmesh-b"}, "spec": {"ports": [{"port": 80}]}});
    let service: Service = serde_json::from_value(service).unwrap();
    lab.api().create(&PostParams::default(), &service).await.unwrap();
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("a", json!({"addressPools": ["10.77.0.0/16"]})).await;
    lab.mesh_when("a", |mesh| reason(mesh, "Programmed") == "Written").await;

    lab.mesh("b", json!({"addressPools": ["10.78.0.0/16"]})).await;
    lab.mesh("c", json!({"addressPools": ["10.77.3.0/24"]})).await;

    lab.mesh_when("b", |mesh| reason(mesh, "Programmed") == "NotOurs").await;
    lab.mesh_when("c", |mesh| reason(mesh, "Accepted") == "PoolOverlapsMesh").await;
    assert_eq!(lab.api::<Service>().get("tunmesh-b").await.unwrap().spec.unwrap().ports.unwrap()[0].port, 80);
    operator.stop().await;
}

#[tokio::test]
async fn a_lost_authority_is_told_and_not_made_anew() {
    let lab = Lab::new("lost").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({})).await;
    lab.mesh_when("m", |mesh| reason(mesh, "TrustReady") == "Issued").await;
    operator.stop().await;

    lab.api::<Secret>().delete("tunmesh-m-trust", &DeleteParams::default()).await.unwrap();
    let operator = Operator::start(lab.client.clone()).await;

    lab.mesh_when("m", |mesh| reason(mesh, "TrustReady") == "SecretDamaged").await;
    assert!(lab.api::<Secret>().get_opt("tunmesh-m-trust").await.unwrap().is_none());
    operator.stop().await;
}

#[tokio::test]
async fn a_deleted_mesh_leaves_nothing_behind() {
    let lab = Lab::new("deleted").await;
    let operator = Operator::start(lab.client.clone()).await;
    let mesh = lab.mesh("m", json!({})).await;
    lab.pod("a", "m", json!({})).await;
    lab.member("a", |member| member.status.as_ref().is_some_and(|it| it.material.is_some())).await;

    lab.api::<TunMesh>().delete("m", &DeleteParams::default()).await.unwrap();
    eventually(
        "no mesh",
        || async { lab.api::<TunMesh>().get_opt("m").await.unwrap().is_none().then_some(()) },
        |()| true,
    )
    .await;

    assert!(lab.claims(&mesh).await.is_empty());
    assert!(lab.api::<TunMeshMember>().list(&Default::default()).await.unwrap().items.is_empty());
    assert!(lab.api::<Secret>().list(&Default::default()).await.unwrap().items.is_empty());
    operator.stop().await;
}
