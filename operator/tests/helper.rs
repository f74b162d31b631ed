//! The node helper on a real API server, with real tokens, network namespaces and devices. Needs root, /dev/net/tun, etcd and
//! kube-apiserver (`tunmesh_e2e::api_server`). Agents are played by what the agent itself receives its device with.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, CustomResourceExt, Resource, ResourceExt};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use prometheus::Registry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tunmesh_crds::{TunMesh, TunMeshMember};
use tunmesh_e2e::api_server::ApiServer;
use tunmesh_operator::helper::{self, Settings};
use tunmesh_operator::layout::{DEVICE, HELPER_AUDIENCE, HELPER_SOCKET};
use tunmesh_sys::netns::Netns;
use tunmesh_sys::tun::{self, Origin, Received, Refusal, TunError, Wanted};

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
    ip(&outside, &format!("link set inside netns {}", helper.folder.path.join("pod").display()));
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

const NODE: &str = "node-a";

/// A node, a service account and a mesh, in a namespace of the test's own.
struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    async fn new(test: &str) -> Self {
        let server = ApiServer::shared().unwrap_or_else(|error| panic!("{error}"));
        let client = server.client().await.unwrap();
        for definition in [TunMesh::crd(), TunMeshMember::crd()] {
            let definitions = Api::<CustomResourceDefinition>::all(client.clone());
            let apply = PatchParams::apply("test").force();
            let name = definition.name_any();
            definitions.patch(&name, &apply, &Patch::Apply(definition)).await.unwrap();
            await_condition(definitions, &name, is_crd_established()).await.unwrap();
        }
        let namespace = server.namespace(&client, test).await.unwrap();
        let cluster = Self { client, namespace };
        for name in [NODE, "another-node"] {
            let node: Node = object(json!({"metadata": {"name": name}}));
            let made = Api::all(cluster.client.clone()).create(&PostParams::default(), &node).await;
            assert!(matches!(&made, Ok(_) | Err(kube::Error::Api(_))), "{made:?}");
        }
        cluster.create::<ServiceAccount>(json!({"metadata": {"name": "app"}})).await;
        cluster.create::<TunMesh>(json!({"metadata": {"name": "blue"}, "spec": {}})).await;
        let status = json!({"addressPools": ["10.77.0.0/16", "fd77::/64"], "mtu": 1380});
        cluster.status::<TunMesh>("blue", status).await;
        cluster
    }

    /// A pod on `node`, as a token needs it.
    async fn pod(&self, name: &str, node: &str) -> Pod {
        let containers = json!([{"name": "app", "image": "app"}]);
        let spec = json!({"nodeName": node, "serviceAccountName": "app", "containers": containers});
        self.create(json!({"metadata": {"name": name}, "spec": spec})).await
    }

    /// A pod on our node that is a member.
    async fn member(&self, name: &str, address: [u8; 4]) -> Pod {
        let pod = self.pod(name, NODE).await;
        self.make_member(&pod, address).await;
        pod
    }

    async fn make_member(&self, pod: &Pod, [a, b, c, d]: [u8; 4]) {
        let (name, uid) = (pod.name_any(), pod.uid().unwrap());
        let spec = json!({"mesh": {"name": "blue"}, "pod": {"name": name, "uid": uid}});
        self.create::<TunMeshMember>(json!({"metadata": {"name": name}, "spec": spec})).await;
        let addresses = json!({"ipv4": format!("{a}.{b}.{c}.{d}"), "ipv6": format!("fd77::{a:x}{b:02x}:{c:x}{d:02x}")});
        self.status::<TunMeshMember>(&name, json!({"addresses": addresses})).await;
    }

    async fn token(&self, pod: &Pod, audience: &str) -> String {
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()});
        self.request_token(json!({"audiences": [audience], "boundObjectRef": bound})).await
    }

    /// For us, but of no pod.
    async fn unbound_token(&self) -> String {
        self.request_token(json!({"audiences": [HELPER_AUDIENCE]})).await
    }

    async fn request_token(&self, spec: Value) -> String {
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &self.namespace);
        let request: TokenRequest = object(json!({"spec": spec}));
        accounts.create_token_request("app", &PostParams::default(), &request).await.unwrap().status.unwrap().token
    }

    async fn create<K>(&self, value: Value) -> K
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &object(value)).await.unwrap()
    }

    async fn status<K>(&self, name: &str, status: Value)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }
}

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// A helper at work, and the folder it finds namespaces in.
struct Running {
    folder: Folder,
    registry: Registry,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(cluster: &Cluster, test: &str) -> Self {
        Self::start_in(cluster, Folder::new(test))
    }

    fn start_in(cluster: &Cluster, folder: Folder) -> Self {
        let (stop, stopped) = watch::channel(false);
        let registry = Registry::new();
        let settings = Settings { node_name: NODE.into(), netns_dir: folder.path.clone() };
        let (client, theirs) = (cluster.client.clone(), registry.clone());
        let task = tokio::spawn(async move { helper::run(client, settings, &theirs, stopped).await.unwrap() });
        Self { folder, registry, stop, task }
    }

    async fn stop(self) -> Folder {
        let Self { folder, stop, task, .. } = self;
        stop.send(true).unwrap();
        task.await.unwrap();
        folder
    }

    /// A new network namespace, mounted as a container runtime does.
    fn namespace(&self, name: &str) -> Arc<Netns> {
        let netns = Arc::new(Netns::create().unwrap());
        self.mount(&netns, name);
        netns
    }

    fn mount(&self, netns: &Netns, name: &str) {
        let path = self.folder.path.join(name);
        fs::write(&path, "").unwrap();
        let source = PathBuf::from(format!("/proc/self/fd/{}", netns.as_fd().as_raw_fd()));
        mount(Some(&source), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }

    fn unmount(&self, name: &str) {
        let path = self.folder.path.join(name);
        umount2(&path, MntFlags::MNT_DETACH).unwrap();
        fs::remove_file(path).unwrap();
    }

    fn metrics(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }
}

/// Removed with all mounts in it.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(test: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tunmesh-netns-{test}-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self { path }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.path).unwrap() {
            // One that a test has unmounted is no mount any more.
            let _no_mount = umount2(&entry.unwrap().path(), MntFlags::MNT_DETACH);
        }
        fs::remove_dir_all(&self.path).unwrap();
    }
}

/// What an agent does at its start.
async fn ask(netns: &Arc<Netns>, token: &str) -> Result<Received, TunError> {
    let (netns, token) = (netns.clone(), token.to_owned());
    let asking = move || {
        let wanted = Wanted { queues: 2, max_segments: Some(44), token: token.as_bytes() };
        netns.run(|| tun::receive(HELPER_SOCKET, &wanted, LIMIT)).unwrap()
    };
    tokio::task::spawn_blocking(asking).await.unwrap()
}

/// What an agent does when its file says that networks or MTU changed.
async fn update(netns: &Arc<Netns>, token: &str) -> Result<u32, TunError> {
    let (netns, token) = (netns.clone(), token.to_owned());
    let asking = move || {
        let wanted = Wanted { queues: 2, max_segments: Some(44), token: token.as_bytes() };
        netns.run(|| tun::update(HELPER_SOCKET, DEVICE, &wanted, LIMIT)).unwrap()
    };
    tokio::task::spawn_blocking(asking).await.unwrap()
}

/// A packet that an application sends comes out of the device.
fn assert_carries(netns: &Netns, received: &Received) {
    let sender = netns.run(|| UdpSocket::bind("10.77.0.5:0").unwrap()).unwrap();
    let payload = format!("carried {:?}", Instant::now());
    sender.send_to(payload.as_bytes(), "10.77.9.9:7").unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        for queue in received.tun.queues() {
            let mut frame = [0; 2048];
            match queue.read(&mut frame) {
                Ok(len) if frame[..len].ends_with(payload.as_bytes()) => return,
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert!(Instant::now() < deadline, "the packet did not come");
        std::thread::yield_now();
    }
}

fn addresses(netns: &Netns) -> Vec<String> {
    let shown = ip(netns, "-br addr show dev tunmesh0");
    shown.split_whitespace().skip(2).map(str::to_owned).collect()
}

/// Output of `ip` inside the namespace.
fn ip(netns: &Netns, arguments: &str) -> String {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    netns.join_on_exec(&mut command).unwrap();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A connection on which nothing is said.
fn connect(name: &str) -> std::os::fd::OwnedFd {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let connection = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let address = UnixAddr::new_abstract(name.trim_start_matches('@').as_bytes()).unwrap();
    connect(connection.as_raw_fd(), &address).unwrap();
    connection
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const LIMIT: Duration = Duration::from_secs(10);
