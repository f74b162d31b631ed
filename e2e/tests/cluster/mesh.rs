//! From a TunMesh of three lines to pings between all of its pods, and back to nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::thread;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::Api;
use serde_json::Value;
use tunmesh_crds::TunMesh;
use tunmesh_crds::names::SIDECAR;
use tunmesh_e2e::cluster::processes;

use crate::support::{APP, IDLE, START, Stage, containers, delete, deployment, eventually, node};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn six_pods_of_a_restricted_namespace_reach_each_other_until_the_mesh_is_deleted() {
    let stage = Stage::new("six").await;
    let mesh = stage.mesh("home").await;
    stage.apply(&deployment("web", 6, Some("home"), IDLE));
    let pods = stage.pods("app=web", 6).await;
    let nodes: BTreeSet<_> = pods.iter().map(node).collect();
    assert!(nodes.len() > 1, "the pods are on one node only: {nodes:?}");

    everyone_pings_everyone(&stage, &pods).await;
    pods.iter().for_each(the_sidecar_has_no_capability);
    eventually("TunMesh home Ready", START, || async {
        let line = stage.kubectl(&["get", "tm", "home", "--no-headers"]);
        let columns: Vec<_> = line.split_whitespace().collect();
        if columns[1..5] == ["True", "Working", "6", "6"] { Ok(()) } else { Err(line) }
    })
    .await;

    let uid = mesh.uid().unwrap();
    assert_ne!(stage.made_for(&uid).await, Vec::<String>::new());
    let before: Vec<_> = pods.iter().map(|pod| containers(pod)[APP].clone()).collect();
    delete(&stage.api::<TunMesh>(), "home").await;
    eventually("the end of all that was made for the mesh", START, || async {
        let left = stage.made_for(&uid).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let pod_api: Api<Pod> = stage.api();
    for (pod, before) in pods.iter().zip(before) {
        let now = pod_api.get(&pod.name_any()).await.unwrap();
        assert_eq!(containers(&now)[APP], before, "{}: the application was not to notice", pod.name_any());
        assert_eq!(before.1, 0, "{}", pod.name_any());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn two_pods_that_start_together_find_each_other() {
    let stage = Stage::new("twins").await;
    // Whether one sees the other's address before its own is a matter of luck.
    for round in 0..ROUNDS {
        let name = format!("twins-{round}");
        stage.mesh(&name).await;
        stage.apply(&deployment(&name, 2, Some(&name), IDLE));
        let pods = stage.pods(&format!("app={name}"), 2).await;
        everyone_pings_everyone(&stage, &pods).await;
        stage.kubectl(&["delete", "deployment", &name]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn pods_in_user_namespaces_of_their_own_are_members() {
    let stage = Stage::new("users").await;
    stage.mesh("home").await;
    let own = deployment("own", 2, Some("home"), IDLE);
    let own = own.replace("enableServiceLinks: false", "enableServiceLinks: false\n      hostUsers: false");
    // The runtime lets whoever is not root ping, but not in a user namespace.
    let ping = "securityContext: {sysctls: [{name: net.ipv4.ping_group_range, value: \"0 65535\"}], runAsNonRoot";
    stage.apply(&own.replace("securityContext: {runAsNonRoot", ping));
    let pods = stage.pods("app=own", 2).await;
    for pod in &pods {
        let users = stage.shell(&pod.name_any(), "cat /proc/self/uid_map");
        assert_ne!(users.split_whitespace().nth(1), Some("0"), "the pod has the users of the host: {users}");
        the_sidecar_has_no_capability(pod);
    }
    everyone_pings_everyone(&stage, &pods).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn a_pod_that_makes_its_device_itself_is_a_member() {
    let stage = Stage::with_level("device", "privileged").await;
    stage.mesh("home").await;
    let helped = deployment("helped", 1, Some("home"), IDLE);
    let own = deployment("own", 1, Some("home"), IDLE);
    stage.apply(&helped);
    stage.apply(&own.replacen(
        "      labels: {",
        "      annotations: {tunmesh.io/tun: HostDevice}\n      labels: {",
        1,
    ));
    let pods = [stage.pods("app=helped", 1).await, stage.pods("app=own", 1).await].concat();
    let volumes = pods[1].spec.as_ref().unwrap().volumes.iter().flatten();
    assert_eq!(volumes.filter(|volume| volume.host_path.is_some()).count(), 1, "it was not to ask the helper");
    everyone_pings_everyone(&stage, &pods).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn pods_of_two_nodes_get_a_good_part_of_the_pod_network_through_the_mesh() {
    let stage = Stage::new("rate").await;
    stage.mesh("fast").await;
    stage.apply(&deployment("peer", 2, Some("fast"), "trap exit TERM; iperf3 --server & wait"));
    let pods = stage.pods("app=peer", 2).await;
    assert_ne!(node(&pods[0]), node(&pods[1]), "the pods are on one node");
    let (client, server) = (pods[0].name_any(), &pods[1]);
    let underlay = server.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap();
    let [mesh, _] = stage.addresses(&server.name_any()).await;
    let (mut through, mut plain) = (Vec::new(), Vec::new());
    // In turns, so that what else the machine does meets both.
    for _ in 0..ROUNDS {
        plain.push(rate(&stage, &client, &underlay));
        through.push(rate(&stage, &client, &mesh.to_string()));
    }
    let [through, plain] = [through, plain].map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    println!(
        "TCP of one stream between two nodes: mesh {through:.2} Gbit/s, pod network {plain:.2} Gbit/s, ratio {:.2}",
        through / plain
    );
    assert!(through > LEAST_RATIO * plain, "{through} {plain}");
}

/// Every pod asks every other, in both families, all at once.
async fn everyone_pings_everyone(stage: &Stage, pods: &[Pod]) {
    let mut all: Vec<(String, IpAddr)> = Vec::new();
    for pod in pods {
        let addresses = stage.addresses(&pod.name_any()).await;
        all.extend(addresses.map(|address| (pod.name_any(), address)));
    }
    let distinct: BTreeSet<_> = all.iter().map(|(_, address)| address).collect();
    assert_eq!(distinct.len(), 2 * pods.len());
    let answered = thread::scope(|scope| {
        let asking: Vec<_> = pods
            .iter()
            .map(|pod| {
                let name = pod.name_any();
                let others = all.iter().filter(|(other, _)| *other != name).map(|(_, address)| address.to_string());
                let others = others.collect::<Vec<_>>().join(" ");
                scope.spawn(move || {
                    // Once a second until an answer: a packet that waits longer than 0.1 s for a session is dropped.
                    stage.shell(
                        &name,
                        &format!("for to in {others}; do ping -qnc1 -w5 $to >/dev/null && echo $to; done; true"),
                    )
                })
            })
            .collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect::<Vec<_>>()
    });
    for (pod, answered) in pods.iter().zip(answered) {
        let answered: BTreeSet<IpAddr> = answered.lines().map(|line| line.parse().unwrap()).collect();
        let wanted: BTreeSet<_> =
            all.iter().filter(|(name, _)| *name != pod.name_any()).map(|(_, address)| *address).collect();
        assert_eq!(answered, wanted, "who answered {}", pod.name_any());
    }
    println!("{} pings answered", pods.len() * (pods.len() - 1) * 2);
}

/// As the kernel says of each of its processes.
fn the_sidecar_has_no_capability(pod: &Pod) {
    let (id, _) = &containers(pod)[SIDECAR];
    let pids = processes(id);
    assert!(
        !pids.is_empty(),
        "no process of container {id} is found: the test needs root on the machine of the cluster"
    );
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            assert!(line.ends_with("\t0000000000000000"), "process {pid} of {}: {line}", pod.name_any());
        }
    }
}

/// Gbit/s that arrive, over some seconds.
fn rate(stage: &Stage, client: &str, server: &str) -> f64 {
    let report = stage.shell(client, &format!("iperf3 --client {server} --time 4 --omit 1 --json"));
    let report: Value = serde_json::from_str(&report).unwrap();
    report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() / 1e9
}

const ROUNDS: usize = 3;

/// Both ends, the nodes between them and everything else share the processors of one machine; 0.45 was measured on a busy one.
const LEAST_RATIO: f64 = 0.3;
