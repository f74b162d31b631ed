use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tunmesh_crds::names::{MANAGED_BY_LABEL, MANAGER, MESH_LABEL, MESH_NAMESPACE_LABEL};
use tunmesh_crds::{TunMeshMember, address_name};

use crate::lab::{Lab, Operator, reason_of};

#[tokio::test]
async fn a_pod_with_the_label_gets_an_address_a_member_and_a_secret_of_its_own() {
    let lab = Lab::new("pod").await;
    let operator = Operator::start(lab.client.clone()).await;
    let mesh = lab.mesh("m", json!({"addressPools": ["10.77.0.0/16", "fd77::/64"]})).await;
    let pod = lab.pod("web", "m", json!({})).await;

    let secret = lab.secret("tunmesh-web").await;
    let member = lab.member("web", |member| member.status.as_ref().is_some_and(|it| it.material.is_some())).await;
    let address = lab.address("web").await;

    assert!(secret["config.yaml"].contains(&format!("{address}/16")), "{}", secret["config.yaml"]);
    assert!(secret["config.yaml"].contains(&secret["cluster-secret"]));
    assert_eq!(member.spec.pod.unwrap().uid, pod.uid().unwrap());
    let claims = lab.claims(&mesh).await;
    assert_eq!(claims[0].name_any(), address_name(&mesh.uid().unwrap(), address.into()));
    assert_eq!(claims.len(), 1);
    let owners = lab.api::<Secret>().get("tunmesh-web").await.unwrap().metadata.owner_references.unwrap();
    assert_eq!(owners[0].uid, pod.uid().unwrap());
    operator.stop().await;
}

#[tokio::test]
async fn a_pod_that_runs_is_ready_in_its_member_and_its_certificate_names_its_address() {
    let lab = Lab::new("runs").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({})).await;
    lab.pod("web", "m", json!({})).await;
    let before = lab.secret("tunmesh-web").await;

    lab.runs("web", "192.0.2.7").await;
    let ready = lab.member("web", |member| member.status.as_ref().is_some_and(|status| status.ready)).await;

    let status = ready.status.unwrap();
    assert_eq!(status.endpoints, ["192.0.2.7:4567"]);
    assert_eq!(reason_of(&status.conditions, "Ready"), "Connected");
    assert_eq!(reason_of(&status.conditions, "UpToDate"), "TemplateOutdated");
    let after = lab.secret("tunmesh-web").await;
    assert_ne!(before["tls.crt"], after["tls.crt"]);
    assert_eq!(before["cluster-secret"], after["cluster-secret"]);
    operator.stop().await;
}

#[tokio::test]
async fn a_secret_that_is_not_the_pods_is_left_alone() {
    let lab = Lab::new("forged").await;
    let others = json!({"metadata": {"name": "tunmesh-web"}, "stringData": {"password": "x"}});
    let others: Secret = serde_json::from_value(others).unwrap();
    lab.api::<Secret>().create(&PostParams::default(), &others).await.unwrap();
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({})).await;
    lab.pod("web", "m", json!({})).await;

    let note = lab.event("web", "SecretNotOurs").await;

    assert!(note.contains("tunmesh-web"), "{note}");
    assert_eq!(lab.secret("tunmesh-web").await.into_keys().collect::<Vec<_>>(), ["password"]);
    operator.stop().await;
}

#[tokio::test]
async fn the_address_in_the_status_counts_where_another_operator_wrote_the_secret_first() {
    let lab = Lab::new("overtaken").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({})).await;
    lab.mesh_when("m", |mesh| mesh.status.as_ref().is_some_and(|status| !status.address_pools.is_empty())).await;
    operator.stop().await;
    let pod = lab.pod("web", "m", json!({})).await;
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": pod.uid().unwrap()});
    let labels = json!({MANAGED_BY_LABEL: MANAGER, MESH_LABEL: "m", MESH_NAMESPACE_LABEL: lab.namespace});
    let written = json!({
        "metadata": {"name": "tunmesh-web", "labels": labels, "ownerReferences": [owner]},
        "type": "kubernetes.io/tls",
        "stringData": {"config.yaml": "of another address", "tls.crt": "", "tls.key": ""},
    });
    let written: Secret = serde_json::from_value(written).unwrap();
    lab.api::<Secret>().create(&PostParams::default(), &written).await.unwrap();

    let operator = Operator::start(lab.client.clone()).await;

    lab.member("web", |member| member.status.as_ref().is_some_and(|it| it.material.is_some())).await;
    let address = lab.address("web").await;
    let config = &lab.secret("tunmesh-web").await["config.yaml"];
    assert!(config.contains(&address.to_string()), "{config}");
    operator.stop().await;
}

#[tokio::test]
async fn the_secret_of_another_pod_is_left_alone_too() {
    let lab = Lab::new("neighbour").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({})).await;
    lab.pod("web", "m", json!({})).await;
    lab.member("web", |member| member.status.as_ref().is_some_and(|it| it.material.is_some())).await;
    let before = lab.secret("tunmesh-web").await;

    lab.pod("thief", "m", json!({"metadata": {"annotations": {"tunmesh.io/secret": "tunmesh-web"}}})).await;
    lab.event("thief", "SecretNotOurs").await;

    assert_eq!(lab.secret("tunmesh-web").await, before);
    operator.stop().await;
}

#[tokio::test]
async fn a_machine_outside_gets_a_file_that_is_ready_to_run() {
    let lab = Lab::new("outside").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({"addressPools": ["10.77.0.0/16"]})).await;
    let outside = json!({
        "mesh": {"name": "m"},
        "outside": {"address": "10.77.9.9", "advertisedAddress": "192.0.2.10", "port": 4568},
    });
    let member = TunMeshMember::new("vm", serde_json::from_value(outside).unwrap());
    lab.api().create(&PostParams::default(), &member).await.unwrap();

    let secret = lab.secret("tunmesh-member-vm").await;

    for part in ["10.77.9.9/16", "https://192.0.2.10:4568"] {
        assert!(secret["config.yaml"].contains(part), "{part} is not in {}", secret["config.yaml"]);
    }
    operator.stop().await;
}

#[tokio::test]
async fn a_machine_outside_of_no_mesh_is_told_in_its_status() {
    let lab = Lab::new("nomesh").await;
    let operator = Operator::start(lab.client.clone()).await;
    let outside = json!({"mesh": {"name": "none"}, "outside": {"advertisedAddress": "192.0.2.10"}});
    let member = TunMeshMember::new("vm", serde_json::from_value(outside).unwrap());
    lab.api().create(&PostParams::default(), &member).await.unwrap();

    let says = |reason: &'static str| {
        move |member: &TunMeshMember| {
            member.status.as_ref().is_some_and(|status| reason_of(&status.conditions, "Accepted") == reason)
        }
    };
    lab.member("vm", says("MeshNotFound")).await;
    lab.mesh("none", json!({})).await;
    lab.member("vm", says("Taken")).await;
    operator.stop().await;
}

#[tokio::test]
async fn what_a_pod_may_not_have_is_refused_and_told() {
    let lab = Lab::new("refused").await;
    let elsewhere = Lab::new("elsewhere").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({"addressPools": ["10.77.0.0/16"]})).await;
    let wants = |address: &str| json!({"metadata": {"annotations": {"tunmesh.io/address": address}}});
    lab.pod("first", "m", wants("10.77.0.9")).await;
    assert_eq!(lab.address("first").await.to_string(), "10.77.0.9");

    lab.pod("second", "m", wants("10.77.0.9")).await;
    lab.pod("far", "m", wants("10.78.0.9")).await;
    lab.pod("lost", "other", json!({})).await;
    let label = json!({"metadata": {"labels": {"tunmesh.io/mesh-namespace": lab.namespace}}});
    elsewhere.pod("foreign", "m", label).await;
    let bare = json!({"metadata": {"annotations": {"tunmesh.io/secret": null}}});
    lab.pod("bare", "m", bare).await;

    for (lab, pod, reason, part) in [
        (&lab, "second", "AddressTaken", "10.77.0.9 is Pod"),
        (&lab, "far", "AddressOutside", "10.78.0.9 is in none of 10.77.0.0/16"),
        (&lab, "lost", "MeshNotFound", "there is no TunMesh"),
        (&elsewhere, "foreign", "NamespaceNotAllowed", "takes no pods of namespace"),
        (&lab, "bare", "SidecarAbsent", "no sidecar"),
    ] {
        let note = lab.event(pod, reason).await;
        assert!(note.contains(part), "{pod}: {note}");
    }
    operator.stop().await;
}

#[tokio::test]
async fn two_operators_give_each_pod_one_address_and_no_two_the_same() {
    let lab = Lab::new("two").await;
    let first = Operator::start(lab.client.clone()).await;
    let second = Operator::beside(lab.client.clone());
    let mesh = lab.mesh("m", json!({"addressPools": ["10.77.0.0/26"]})).await;
    let names: Vec<_> = (0..40).map(|number| format!("pod-{number}")).collect();
    for name in &names {
        lab.pod(name, "m", json!({})).await;
    }

    let mut addresses = std::collections::BTreeSet::new();
    for name in &names {
        lab.member(name, |member| member.status.as_ref().is_some_and(|it| it.material.is_some())).await;
        addresses.insert(lab.address(name).await);
    }

    assert_eq!(addresses.len(), 40);
    // A claim too many, of an address that a member did not get, is given up.
    let claims = || async { Some(lab.claims(&mesh).await.len()) };
    crate::lab::eventually("one claim each", claims, |count| *count == 40).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_deleted_claim_frees_no_address_in_use() {
    let lab = Lab::new("claim").await;
    let operator = Operator::start(lab.client.clone()).await;
    let mesh = lab.mesh("m", json!({"addressPools": ["10.77.0.0/29"]})).await;
    lab.pod("a", "m", json!({})).await;
    let address = lab.address("a").await;
    let claims = kube::Api::<tunmesh_crds::TunMeshAddress>::all(lab.client.clone());
    let name = address_name(&mesh.uid().unwrap(), address.into());

    claims.delete(&name, &DeleteParams::default()).await.unwrap();
    for other in ["b", "c", "d", "e", "f", "g"] {
        lab.pod(other, "m", json!({})).await;
    }
    let exhausted = |lab: &Lab| {
        let api = lab.api::<TunMeshMember>();
        async move {
            let members = api.list(&Default::default()).await.unwrap();
            let waiting = members.items.into_iter().find(|member| {
                let conditions = member.status.clone().unwrap_or_default().conditions;
                reason_of(&conditions, "AddressClaimed") == "PoolExhausted"
            });
            waiting.map(|member| member.name_any())
        }
    };
    crate::lab::eventually("an exhausted pool", || exhausted(&lab), |_| true).await;

    assert_eq!(lab.claims(&mesh).await.len(), 6);
    assert_eq!(lab.address("a").await, address);
    // The one that waits gets the address when it is free.
    let waiting = exhausted(&lab).await.unwrap();
    lab.delete_pod("a").await;
    assert_eq!(lab.address(&waiting).await, address);
    operator.stop().await;
}

#[tokio::test]
async fn a_deleted_secret_is_written_again_when_its_material_changes() {
    let lab = Lab::new("again").await;
    let operator = Operator::start(lab.client.clone()).await;
    lab.mesh("m", json!({})).await;
    lab.pod("web", "m", json!({})).await;
    lab.member("web", |member| member.status.as_ref().is_some_and(|it| it.material.is_some())).await;
    lab.api::<Secret>().delete("tunmesh-web", &DeleteParams::default()).await.unwrap();

    let more = json!({"spec": {"sidecar": {"logLevel": "debug"}}});
    lab.api::<tunmesh_crds::TunMesh>().patch("m", &PatchParams::default(), &Patch::Merge(more)).await.unwrap();

    assert!(lab.secret("tunmesh-web").await["config.yaml"].contains("debug"));
    operator.stop().await;
}
