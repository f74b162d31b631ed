//! What somebody tries who may make pods and members in a namespace of the cluster, but no more.

use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use serde_json::json;
use tunmesh_crds::TunMeshMember;
use tunmesh_crds::names::{SECRET_ANNOTATION, TEMPLATE_ANNOTATION};
use tunmesh_e2e::cluster::run;

use crate::support::{IDLE, START, SYSTEM, Stage, deployment, eventually, pod};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn a_pod_that_names_the_secret_of_another_is_refused() {
    let stage = Stage::new("forged").await;
    stage.mesh("home").await;
    stage.apply(&deployment("victim", 1, Some("home"), IDLE));
    let victim = stage.pods("app=victim", 1).await.remove(0);
    let pods: Api<Pod> = stage.api();

    let mut forged: Pod = serde_saphyr::from_str(&pod("forged", Some("home"), IDLE)).unwrap();
    forged.annotations_mut().insert(SECRET_ANNOTATION.into(), victim.annotations()[SECRET_ANNOTATION].clone());
    let refused = refusal(pods.create(&PostParams::default(), &forged).await);
    assert!(refused.contains("is written by the webhook only: remove it"), "{refused}");
    println!("annotation alone: {refused}");

    // All of the victim, sidecar and volumes as the webhook made them.
    let mut copy = Pod { spec: victim.spec.clone(), ..Pod::default() };
    copy.metadata.name = Some("copy".into());
    copy.metadata.labels = forged.metadata.labels.clone();
    for annotation in [SECRET_ANNOTATION, TEMPLATE_ANNOTATION] {
        copy.annotations_mut().insert(annotation.into(), victim.annotations()[annotation].clone());
    }
    let refused = refusal(pods.create(&PostParams::default(), &copy).await);
    assert!(refused.contains("names the Secret") && refused.contains("of another pod"), "{refused}");
    println!("all of it: {refused}");

    // Without the label no webhook looks at it; but then the keys are in a volume of its own namespace's Secret, which
    // whoever may make pods there may mount anyway, and it is no member.
    let members = stage.api::<TunMeshMember>();
    assert!(members.get_opt("copy").await.unwrap().is_none() && members.get_opt("forged").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn a_pod_of_a_namespace_that_the_mesh_does_not_take_is_refused() {
    let (stage, other) = (Stage::new("inside").await, Stage::new("foreign").await);
    stage.mesh("home").await;
    let mut foreign: Pod = serde_saphyr::from_str(&pod("foreign", Some("home"), IDLE)).unwrap();
    foreign.labels_mut().insert(tunmesh_crds::names::MESH_NAMESPACE_LABEL.into(), stage.namespace.clone());

    let refused = refusal(other.api::<Pod>().create(&PostParams::default(), &foreign).await);

    assert!(refused.contains("may not join the TunMesh") && refused.contains("from: Same"), "{refused}");
    println!("{refused}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn nobody_gets_the_address_of_another_by_asking_for_it() {
    let stage = Stage::new("address").await;
    stage.mesh("home").await;
    stage.apply(&deployment("victim", 1, Some("home"), IDLE));
    let victim = stage.pods("app=victim", 1).await.remove(0);
    let [address, _] = stage.addresses(&victim.name_any()).await;

    let mut thief: Pod = serde_saphyr::from_str(&pod("thief", Some("home"), IDLE)).unwrap();
    thief.annotations_mut().insert("tunmesh.io/address".into(), address.to_string());
    stage.api::<Pod>().create(&PostParams::default(), &thief).await.unwrap();
    let machine = json!({
        "apiVersion": "tunmesh.io/v1alpha1", "kind": "TunMeshMember", "metadata": {"name": "thief-vm"},
        "spec": {"mesh": {"name": "home"}, "outside": {"address": address, "advertisedAddress": "192.0.2.9"}},
    });
    stage.apply(&machine.to_string());

    let members = stage.api::<TunMeshMember>();
    for name in ["thief", "thief-vm"] {
        let told = eventually(&format!("the refusal of {name}"), START, || async {
            let status = members.get_opt(name).await.unwrap().and_then(|member| member.status).unwrap_or_default();
            let condition = status.conditions.iter().find(|condition| condition.reason == "AddressTaken").cloned();
            condition.ok_or(status)
        })
        .await;
        let status = members.get(name).await.unwrap().status.unwrap();
        assert_eq!((status.addresses.ipv4, status.material), (None, None), "{name}");
        println!("{name}: {}", told.message);
    }
    let events = stage.kubectl(&["get", "events", "--field-selector=reason=AddressTaken", "--output=name"]);
    assert!(events.lines().count() >= 2, "{events}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn an_application_gets_nothing_at_the_socket_of_the_node_helper() {
    let stage = Stage::new("dial").await;
    load_dial(&stage);
    stage.mesh("home").await;
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    let mut dialling: Pod = serde_saphyr::from_str(&pod("dialling", Some("home"), IDLE)).unwrap();
    let spec = dialling.spec.as_mut().unwrap();
    spec.automount_service_account_token = Some(true);
    let mut other = spec.containers[0].clone();
    for (name, token) in [("without-token", None), ("with-its-own", Some(token))] {
        other.name = name.into();
        other.image = Some(DIAL.into());
        other.command = Some(["dial", "@tunmesh/node-helper"].into_iter().chain(token).map(str::to_owned).collect());
        spec.containers.push(other.clone());
    }
    stage.api::<Pod>().create(&PostParams::default(), &dialling).await.unwrap();

    for name in ["without-token", "with-its-own"] {
        let status = eventually(&format!("the end of container {name}"), START, || async {
            let status = stage.api::<Pod>().get("dialling").await.unwrap().status.unwrap_or_default();
            let all = status.container_statuses.unwrap_or_default();
            let ended =
                all.iter().find(|status| status.name == name).and_then(|status| status.state.clone()?.terminated);
            ended.ok_or(all)
        })
        .await;
        let said = stage.kubectl(&["logs", "dialling", "--container", name]);
        assert!(status.exit_code == 1 && said.starts_with("no device: "), "{name}: {} {said}", status.exit_code);
        println!("{name}: {}", said.trim());
    }
    // The sidecar is as well as before.
    let ready = stage.kubectl(&["get", "tmm", "dialling", "--output=jsonpath={.status.ready}"]);
    assert_eq!(ready, "true");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn a_mesh_that_cannot_be_is_refused_with_what_to_do() {
    let stage = Stage::new("invalid").await;
    let mesh = |pools: &str| {
        format!(
            "apiVersion: tunmesh.io/v1alpha1\nkind: TunMesh\nmetadata: {{name: bad}}\nspec: {{addressPools: [{pools}]}}\n"
        )
    };
    let refused = stage.cluster.apply(&stage.namespace, &mesh("10.77.0.1/16")).unwrap_err().to_string();
    assert!(
        refused.contains("addressPools must have no host bits: write the first address of the network"),
        "{refused}"
    );

    // That it is the pods' own network only the operator knows.
    stage.apply(&mesh("10.244.0.0/16"));
    let told = eventually("the refusal of a mesh that overlaps the pods", START, || async {
        let said =
            stage.kubectl(&["get", "tm", "bad", "--output=jsonpath={.status.conditions[?(@.type==\"Accepted\")]}"]);
        if said.contains("PoolOverlapsCluster") { Ok(said) } else { Err(said) }
    })
    .await;
    assert!(told.contains("pods of node"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn operator_and_node_helper_may_what_they_need_and_may_not_list_secrets() {
    let stage = Stage::new("rights").await;
    for (account, verb, resource, may) in [
        ("tunmesh-operator", "get", "secrets", "yes"),
        ("tunmesh-operator", "list", "secrets", "no"),
        ("tunmesh-operator", "watch", "secrets", "no"),
        ("tunmesh-operator", "create", "pods", "no"),
        ("tunmesh-operator", "delete", "mutatingwebhookconfigurations/tunmesh", "no"),
        ("tunmesh-operator", "patch", "mutatingwebhookconfigurations/tunmesh", "yes"),
        ("tunmesh-operator", "patch", "mutatingwebhookconfigurations/other", "no"),
        ("tunmesh-node-helper", "get", "secrets", "no"),
        ("tunmesh-node-helper", "get", "tunmeshmembers", "yes"),
        ("tunmesh-node-helper", "list", "pods", "no"),
    ] {
        let user = format!("--as=system:serviceaccount:{SYSTEM}:{account}");
        // Ends with 1 for no.
        let said = stage.cluster.kubectl(&["auth", "can-i", verb, resource, "--all-namespaces", &user]);
        let said = said.unwrap_or_else(|error| error.to_string());
        assert!(said.trim().ends_with(may), "{account} {verb} {resource}: {said}");
    }
    // What RBAC refuses stands in the logs, of all that the tests before this one had them do.
    for workload in ["deployment/tunmesh-operator", "daemonset/tunmesh-node-helper"] {
        let logs = stage.cluster.kubectl(&["--namespace", SYSTEM, "logs", workload, "--all-pods"]).unwrap();
        let refused: Vec<_> = logs.lines().filter(|line| line.contains("is forbidden: User")).collect();
        assert!(refused.is_empty(), "{workload}: {refused:#?}");
    }
    let check = ["--namespace", SYSTEM, "exec", "deployment/tunmesh-operator", "--", "tunmesh-operator", "check"];
    let found = stage.cluster.kubectl(&check).unwrap_or_else(|error| error.to_string());
    assert!(!found.contains("forbidden"), "{found}");
    println!("check: {}", found.trim());
}

/// What the API server says of an object that it does not take.
fn refusal(outcome: Result<Pod, kube::Error>) -> String {
    match outcome {
        Err(kube::Error::Api(status)) => status.message,
        Err(error) => panic!("{error}"),
        Ok(pod) => panic!("{} was taken", pod.name_any()),
    }
}

/// Makes an image of the program of that name and puts it onto the nodes.
fn load_dial(stage: &Stage) {
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster");
    let folder = std::env::temp_dir().join(format!("tunmesh-dial-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let archive = folder.join("dial.tar");
    let program = format!("{}:/usr/bin/dial", env!("CARGO_BIN_EXE_dial"));
    let made = run(Command::new("python3").arg(format!("{scripts}/image.py")).arg(&archive).args([
        "--tag",
        DIAL,
        "--program",
        &program,
    ]));
    let loaded = made.and_then(|_| {
        run(Command::new("python3")
            .arg(format!("{scripts}/load.py"))
            .args(["--name", &stage.cluster.name])
            .arg(&archive))
    });
    std::fs::remove_dir_all(&folder).unwrap();
    loaded.unwrap_or_else(|error| panic!("{error}"));
}

const DIAL: &str = "tunmesh.io/e2e/dial:1";
