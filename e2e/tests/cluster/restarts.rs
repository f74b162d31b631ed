//! A sidecar or a node helper that ends takes nothing with it.

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use tunmesh_crds::names::SIDECAR;
use tunmesh_e2e::cluster::{processes, run};

use crate::support::{IDLE, START, SYSTEM, Stage, containers, deployment, eventually, node};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn an_agent_that_is_killed_has_its_device_again_within_a_second() {
    let stage = Stage::new("killed").await;
    let (from, to) = two_pods(&stage).await;
    let (id, restarts) = containers(&to)[SIDECAR].clone();
    let [address, _] = stage.addresses(&to.name_any()).await;
    // The second kill within a short time is the one that a kubelet would answer with a pause of 10 s.
    for kill in 1..=2 {
        let pings = Pings::start(&stage, &from.name_any(), &address.to_string(), 5);

        run(Command::new("kill").args(["-KILL", &agent(&id).to_string()])).unwrap();

        let Answers { sent, lost, gap } = pings.answers();
        println!("agent killed, time {kill}: {lost} of {sent} pings lost, a gap of {gap:?}");
        assert_ne!(lost, 0, "nothing was lost, so nothing was killed");
        assert!(gap < Duration::from_secs(1), "{gap:?}");
    }
    let pods: Api<Pod> = stage.api();
    assert_eq!(
        containers(&pods.get(&to.name_any()).await.unwrap())[SIDECAR],
        (id, restarts),
        "the container was to go on"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn a_sidecar_that_is_killed_as_a_whole_has_its_device_again_as_soon_as_its_kubelet_starts_it() {
    let stage = Stage::new("killed").await;
    let (from, to) = two_pods(&stage).await;
    let (id, restarts) = containers(&to)[SIDECAR].clone();
    let [address, _] = stage.addresses(&to.name_any()).await;
    let pings = Pings::start(&stage, &from.name_any(), &address.to_string(), 8);

    for pid in processes(&id) {
        // The first takes the others with it.
        let _gone = run(Command::new("kill").args(["-KILL", &pid.to_string()]));
    }

    let Answers { sent, lost, gap } = pings.answers();
    let pods: Api<Pod> = stage.api();
    eventually("the sidecar that started anew", START, || async {
        let (_, now) = containers(&pods.get(&to.name_any()).await.unwrap())[SIDECAR];
        if now == restarts + 1 { Ok(()) } else { Err(now) }
    })
    .await;
    println!("sidecar killed: {lost} of {sent} pings lost, a gap of {gap:?}");
    assert_ne!(lost, 0, "nothing was lost, so nothing was killed");
    assert!(gap < Duration::from_secs(2), "{gap:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn traffic_goes_on_while_a_node_helper_is_made_anew() {
    let stage = Stage::new("helper").await;
    let (from, to) = two_pods(&stage).await;
    let [address, _] = stage.addresses(&to.name_any()).await;
    let helpers = Api::<Pod>::namespaced(stage.client.clone(), SYSTEM);
    let listed = helpers.list(&ListParams::default().labels("app.kubernetes.io/component=node-helper")).await.unwrap();
    let helper = listed.items.iter().find(|pod| node(pod) == node(&to)).unwrap();
    let pings = Pings::start(&stage, &from.name_any(), &address.to_string(), 8);

    stage.cluster.kubectl(&["--namespace", SYSTEM, "delete", "pod", &helper.name_any()]).unwrap();

    let Answers { sent, lost, .. } = pings.answers();
    assert_eq!(lost, 0, "of {sent} pings");
    stage
        .cluster
        .kubectl(&["--namespace", SYSTEM, "rollout", "status", "daemonset/tunmesh-node-helper", "--timeout=60s"])
        .unwrap();
    println!("node helper made anew: none of {sent} pings lost");
}

/// The agent in a sidecar: the process that another one of the container started.
fn agent(container: &str) -> u32 {
    let all = processes(container);
    let parent = |pid: u32| -> u32 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
        line.trim().parse().unwrap()
    };
    let children: Vec<_> = all.iter().copied().filter(|pid| all.contains(&parent(*pid))).collect();
    let [agent] = children[..] else { panic!("one agent under its supervisor was to be among {all:?}") };
    agent
}

/// Two members on two nodes, that know each other.
async fn two_pods(stage: &Stage) -> (Pod, Pod) {
    stage.mesh("home").await;
    stage.apply(&deployment("pair", 2, Some("home"), IDLE));
    let pods = stage.pods("app=pair", 2).await;
    assert_ne!(node(&pods[0]), node(&pods[1]), "the pods are on one node");
    let [address, _] = stage.addresses(&pods[1].name_any()).await;
    stage.shell(&pods[0].name_any(), &format!("ping -qnc1 -w5 {address}"));
    (pods[0].clone(), pods[1].clone())
}

/// Pings from one pod, one each [`INTERVAL`].
struct Pings(Child);

impl Pings {
    /// Returns when the first was answered.
    fn start(stage: &Stage, from: &str, to: &str, seconds: u32) -> Self {
        let script = format!(
            "ping -qnc1 -w5 {to} >/dev/null && touch /tmp/begun; ping -nDO -i {} -w {seconds} {to}",
            INTERVAL.as_secs_f64()
        );
        let exec = ["--namespace", &stage.namespace, "exec", from, "--container=app", "--", "sh", "-c", &script];
        let pings = Self(stage.cluster.start_kubectl(&exec).unwrap());
        stage.shell(from, "until test -e /tmp/begun; do sleep 0.1; done; sleep 1");
        pings
    }

    /// What became of them. Those after the last answer do not count.
    fn answers(self) -> Answers {
        let output = self.0.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut answers = Vec::new();
        for line in text.lines().filter(|line| line.contains("bytes from")) {
            let at: f64 = line[1..].split(']').next().unwrap().parse().unwrap();
            let number: usize = line.split("icmp_seq=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
            answers.push((number, at));
        }
        let (Some((first, _)), Some((last, _))) = (answers.first(), answers.last()) else {
            panic!("no answer: {text}{}", String::from_utf8_lossy(&output.stderr));
        };
        let sent = last - first + 1;
        let longest = answers.windows(2).map(|pair| pair[1].1 - pair[0].1).fold(0.0, f64::max);
        Answers { sent, lost: sent - answers.len(), gap: Duration::from_secs_f64(longest) }
    }
}

/// What became of pings.
struct Answers {
    sent: usize,
    lost: usize,
    /// Longest time from one answer to the next.
    gap: Duration,
}

const INTERVAL: Duration = Duration::from_millis(20);
