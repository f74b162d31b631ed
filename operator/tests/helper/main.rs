//! The node helper on a real API server, with real tokens, network namespaces and devices. Needs root, /dev/net/tun, etcd and
//! kube-apiserver (`tunmesh_e2e::api_server`). Agents are played by what the agent itself receives its device with.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod lab;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tunmesh_crds::{TunMesh, TunMeshMember};
use tunmesh_operator::layout::{DEVICE, HELPER_AUDIENCE, HELPER_SOCKET};
use tunmesh_sys::netns::Netns;
use tunmesh_sys::tun::{self, Origin, Received, Refusal, TunError};

use crate::lab::{Cluster, NODE, Running, addresses, ask, assert_carries, connect, eventually, ip, update};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_gets_its_device_within_a_tenth_of_a_second() {
    let cluster = Cluster::new("device").await;
    let helper = Running::start(&cluster, "device");
    let mut times = Vec::new();
    for number in 0..10 {
        let pod = cluster.member(&format!("web-{number}"), [10, 77, 0, 10 + number]).await;
        let token = cluster.token(&pod, HELPER_AUDIENCE).await;
        let netns = helper.namespace(&format!("pod-{number}"));

        let asked = Instant::now();
        let Received { tun, origin, .. } = ask(&netns, &token).await.unwrap();
        times.push(asked.elapsed());

        assert_eq!((tun.name(), tun.mtu(), origin, tun.queues().len()), (DEVICE, 1380, Origin::Fresh, 2));
        assert!(netns.run(|| tun.is_up()).unwrap());
        let address = format!("10.77.0.{}", 10 + number);
        assert_eq!(addresses(&netns), [format!("{address}/32"), format!("fd77::a4d:{:x}/128", 10 + number)]);
        let route = ip(&netns, "route get 10.77.9.9");
        assert!(route.contains(&format!("dev tunmesh0 src {address}")), "{route}");
    }

    times.sort();
    println!("devices after {times:?}");
    // The other tests have the processors meanwhile.
    assert!(times[0] < Duration::from_millis(100), "{times:?}");
    let metrics = helper.metrics();
    assert!(metrics.contains("tunmesh_helper_hand_over_seconds_count 10"), "{metrics}");
    assert!(metrics.contains("tunmesh_helper_namespaces 10"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_token_nothing_is_made() {
    let cluster = Cluster::new("refused").await;
    let helper = Running::start(&cluster, "refused");
    let web = cluster.member("web", [10, 77, 0, 5]).await;
    let stranger = cluster.pod("stranger", NODE).await;
    let elsewhere = cluster.pod("elsewhere", "another-node").await;
    cluster.make_member(&elsewhere, [10, 77, 0, 7]).await;
    let cases = [
        ("no token", String::new(), Refusal::Token),
        ("a forged one", "a.b.c".to_owned(), Refusal::Token),
        ("another audience", cluster.token(&web, "api").await, Refusal::Token),
        ("no pod", cluster.unbound_token().await, Refusal::Token),
        ("another node", cluster.token(&elsewhere, HELPER_AUDIENCE).await, Refusal::Token),
        ("no member", cluster.token(&stranger, HELPER_AUDIENCE).await, Refusal::Member),
    ];
    let netns = helper.namespace("pod");
    for (what, token, expected) in cases {
        let outcome = ask(&netns, &token).await;

        let Err(TunError::Refused { reason, .. }) = &outcome else { panic!("{what}: {outcome:?}") };
        assert_eq!(*reason, Some(expected), "{what}");
        assert_eq!(ip(&netns, "-o link show type tun"), "", "{what}");
        assert!(!ip(&netns, "route show").contains("10.77."), "{what}");
    }
    let metrics = helper.metrics();
    assert!(metrics.contains("tunmesh_helper_refusals_total{reason=\"token\"} 5"), "{metrics}");
    assert!(metrics.contains("tunmesh_helper_refusals_total{reason=\"member\"} 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_another_pod_gets_nothing_where_a_device_is_or_its_own_is() {
    let cluster = Cluster::new("other").await;
    let helper = Running::start(&cluster, "other");
    let [web, db] = [cluster.member("web", [10, 77, 0, 5]).await, cluster.member("db", [10, 77, 0, 6]).await];
    let (web, db) = (cluster.token(&web, HELPER_AUDIENCE).await, cluster.token(&db, HELPER_AUDIENCE).await);
    let [of_web, of_other] = ["web", "other"].map(|name| helper.namespace(name));
    let first = ask(&of_web, &web).await.unwrap();

    let in_its_pod = ask(&of_web, &db).await;
    let update = update(&of_web, &db).await;
    let with_its_token = ask(&of_other, &web).await;

    assert!(matches!(in_its_pod, Err(TunError::Refused { reason: Some(Refusal::Device), .. })), "{in_its_pod:?}");
    assert!(matches!(update, Err(TunError::Refused { reason: Some(Refusal::Device), .. })), "{update:?}");
    assert!(
        matches!(with_its_token, Err(TunError::Refused { reason: Some(Refusal::Token), .. })),
        "{with_its_token:?}"
    );
    assert_eq!(addresses(&of_web), ["10.77.0.5/32", "fd77::a4d:5/128"]);
    assert_eq!(ip(&of_other, "-o link show type tun"), "");
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_added_to_a_mesh_reaches_the_device_of_an_agent_that_runs() {
    let cluster = Cluster::new("added").await;
    let helper = Running::start(&cluster, "added");
    let pod = cluster.member("web", [10, 77, 0, 5]).await;
    let token = cluster.token(&pod, HELPER_AUDIENCE).await;
    let netns = helper.namespace("pod");
    let agent = ask(&netns, &token).await.unwrap();

    let status = json!({"addressPools": ["10.77.0.0/16", "fd77::/64", "10.78.0.0/16"], "mtu": 1300});
    cluster.status::<TunMesh>("blue", status).await;
    let updated = update(&netns, &token).await;

    assert_eq!(updated.unwrap(), 1300);
    assert!(ip(&netns, "link show dev tunmesh0").contains("mtu 1300"));
    let route = ip(&netns, "route get 10.78.9.9");
    assert!(route.contains("dev tunmesh0 src 10.77.0.5"), "{route}");
    assert!(ip(&netns, "route show type unreachable").contains("10.78.0.0/16"));
    for _flow in 0..32 {
        // A queue more, that nobody reads, would have some of them.
        assert_carries(&netns, &agent);
    }
    assert!(helper.metrics().contains("tunmesh_helper_hand_over_seconds_count 1"), "{}", helper.metrics());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_sandbox_was_made_anew_has_its_device_there_though_the_old_one_is_mounted() {
    let cluster = Cluster::new("sandbox").await;
    let helper = Running::start(&cluster, "sandbox");
    let pod = cluster.member("web", [10, 77, 0, 5]).await;
    cluster.status::<TunMeshMember>("web", json!({"endpoints": ["192.0.2.7:4567"]})).await;
    let token = cluster.token(&pod, HELPER_AUDIENCE).await;
    let [old, new] = ["old", "new"].map(|name| helper.namespace(name));
    for netns in [&old, &new] {
        ip(netns, "link add eth0 type bridge");
    }
    ip(&old, "addr add 192.0.2.7/24 dev eth0");
    let first = ask(&old, &token).await.unwrap();

    let stolen = ask(&new, &token).await;
    ip(&new, "addr add 192.0.2.7/24 dev eth0");
    let with_its_address = ask(&new, &token).await;
    // What a network plugin does with a sandbox that is to go.
    ip(&old, "link del eth0");
    let remade = ask(&new, &token).await;
    let left = ask(&old, &token).await;

    for refused in [stolen, with_its_address, left] {
        assert!(matches!(refused, Err(TunError::Refused { reason: Some(Refusal::Token), .. })), "{refused:?}");
    }
    let remade = remade.unwrap();
    assert_eq!(remade.origin, Origin::Fresh);
    assert_carries(&new, &remade);
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_starts_again_has_its_device_again() {
    let cluster = Cluster::new("again").await;
    let helper = Running::start(&cluster, "again");
    let pod = cluster.member("web", [10, 77, 0, 5]).await;
    let token = cluster.token(&pod, HELPER_AUDIENCE).await;
    let netns = helper.namespace("pod");
    let first = ask(&netns, &token).await.unwrap();
    let index = ip(&netns, "-o link show dev tunmesh0").split(':').next().unwrap().to_owned();

    // All that the kernel does when an agent is killed.
    drop(first);
    let second = ask(&netns, &token).await.unwrap();

    assert_eq!(second.origin, Origin::Existed);
    assert_eq!(ip(&netns, "-o link show dev tunmesh0").split(':').next().unwrap(), index);
    assert_carries(&netns, &second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_starts_again_disturbs_nobody() {
    let cluster = Cluster::new("restart").await;
    let helper = Running::start(&cluster, "restart");
    let pod = cluster.member("web", [10, 77, 0, 5]).await;
    let token = cluster.token(&pod, HELPER_AUDIENCE).await;
    let netns = helper.namespace("pod");
    let agent = ask(&netns, &token).await.unwrap();

    let folder = helper.stop().await;
    assert_carries(&netns, &agent);
    let helper = Running::start_in(&cluster, folder);
    assert_carries(&netns, &agent);

    drop(agent);
    let again = ask(&netns, &token).await.unwrap();
    assert_eq!(again.origin, Origin::Existed);
    assert_carries(&netns, &again);
    drop(helper);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_squatter_on_the_name_is_outlived() {
    let cluster = Cluster::new("squatter").await;
    let netns = Arc::new(Netns::create().unwrap());
    let squatter = netns.run(|| tun::listen(HELPER_SOCKET)).unwrap().unwrap();
    let helper = Running::start(&cluster, "squatter");
    let pod = cluster.member("web", [10, 77, 0, 5]).await;
    let token = cluster.token(&pod, HELPER_AUDIENCE).await;
    helper.mount(&netns, "pod");
    let other = helper.namespace("other");
    // It is there, so the first look is over.
    assert!(ask(&other, "").await.is_err());

    drop(squatter);

    assert_eq!(ask(&netns, &token).await.unwrap().origin, Origin::Fresh);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_held_of_a_namespace_that_is_gone() {
    let cluster = Cluster::new("gone").await;
    let helper = Running::start(&cluster, "gone");
    let pod = cluster.member("web", [10, 77, 0, 5]).await;
    let token = cluster.token(&pod, HELPER_AUDIENCE).await;
    let outside = Netns::create().unwrap();
    let netns = helper.namespace("pod");
    ip(&outside, "link add outside type veth peer name inside");
    ip(&outside, &format!("link set inside netns {}", helper.mount_point("pod").display()));
    let agent = ask(&netns, &token).await.unwrap();
    // A client that says nothing is let go of too.
    let silent = netns.run(|| connect(HELPER_SOCKET)).unwrap();
    assert!(ip(&outside, "-o link show").contains("outside"));

    drop(agent);
    drop(netns);
    drop(silent);
    helper.unmount("pod");

    // The kernel takes the other end of the pair away with the namespace, and it with the last that holds it.
    eventually("the namespace is gone", || !ip(&outside, "-o link show").contains("outside")).await;
}
