//! A node of a real API server, the namespaces of its pods, a helper, and what agents ask it.

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
use tunmesh_sys::tun::{self, Received, TunError, Wanted};

pub(crate) const NODE: &str = "node-a";

/// A node, a service account and a mesh, in a namespace of the test's own.
pub(crate) struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    pub(crate) async fn new(test: &str) -> Self {
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
    pub(crate) async fn pod(&self, name: &str, node: &str) -> Pod {
        let containers = json!([{"name": "app", "image": "app"}]);
        let spec = json!({"nodeName": node, "serviceAccountName": "app", "containers": containers});
        self.create(json!({"metadata": {"name": name}, "spec": spec})).await
    }

    /// A pod on our node that is a member.
    pub(crate) async fn member(&self, name: &str, address: [u8; 4]) -> Pod {
        let pod = self.pod(name, NODE).await;
        self.make_member(&pod, address).await;
        pod
    }

    pub(crate) async fn make_member(&self, pod: &Pod, [a, b, c, d]: [u8; 4]) {
        let (name, uid) = (pod.name_any(), pod.uid().unwrap());
        let spec = json!({"mesh": {"name": "blue"}, "pod": {"name": name, "uid": uid}});
        self.create::<TunMeshMember>(json!({"metadata": {"name": name}, "spec": spec})).await;
        let addresses = json!({"ipv4": format!("{a}.{b}.{c}.{d}"), "ipv6": format!("fd77::{a:x}{b:02x}:{c:x}{d:02x}")});
        self.status::<TunMeshMember>(&name, json!({"addresses": addresses})).await;
    }

    pub(crate) async fn token(&self, pod: &Pod, audience: &str) -> String {
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name_any(), "uid": pod.uid()});
        self.request_token(json!({"audiences": [audience], "boundObjectRef": bound})).await
    }

    /// For us, but of no pod.
    pub(crate) async fn unbound_token(&self) -> String {
        self.request_token(json!({"audiences": [HELPER_AUDIENCE]})).await
    }

    pub(crate) async fn request_token(&self, spec: Value) -> String {
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &self.namespace);
        let request: TokenRequest = object(json!({"spec": spec}));
        accounts.create_token_request("app", &PostParams::default(), &request).await.unwrap().status.unwrap().token
    }

    pub(crate) async fn create<K>(&self, value: Value) -> K
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

    pub(crate) async fn status<K>(&self, name: &str, status: Value)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let api = Api::<K>::namespaced(self.client.clone(), &self.namespace);
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }
}

pub(crate) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// A helper at work, and the folder it finds namespaces in.
pub(crate) struct Running {
    folder: Folder,
    registry: Registry,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(cluster: &Cluster, test: &str) -> Self {
        Self::start_in(cluster, Folder::new(test))
    }

    pub(crate) fn start_in(cluster: &Cluster, folder: Folder) -> Self {
        let (stop, stopped) = watch::channel(false);
        let registry = Registry::new();
        let settings = Settings { node_name: NODE.into(), netns_dir: folder.path.clone() };
        let (client, theirs) = (cluster.client.clone(), registry.clone());
        let task = tokio::spawn(async move { helper::run(client, settings, &theirs, stopped).await.unwrap() });
        Self { folder, registry, stop, task }
    }

    pub(crate) async fn stop(self) -> Folder {
        let Self { folder, stop, task, .. } = self;
        stop.send(true).unwrap();
        task.await.unwrap();
        folder
    }

    /// A new network namespace, mounted as a container runtime does.
    pub(crate) fn namespace(&self, name: &str) -> Arc<Netns> {
        let netns = Arc::new(Netns::create().unwrap());
        self.mount(&netns, name);
        netns
    }

    pub(crate) fn mount(&self, netns: &Netns, name: &str) {
        let path = self.mount_point(name);
        fs::write(&path, "").unwrap();
        let source = PathBuf::from(format!("/proc/self/fd/{}", netns.as_fd().as_raw_fd()));
        mount(Some(&source), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }

    pub(crate) fn unmount(&self, name: &str) {
        let path = self.mount_point(name);
        umount2(&path, MntFlags::MNT_DETACH).unwrap();
        fs::remove_file(path).unwrap();
    }

    /// Where the namespace of this name is mounted.
    pub(crate) fn mount_point(&self, name: &str) -> PathBuf {
        self.folder.path.join(name)
    }

    pub(crate) fn metrics(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }
}

/// Removed with all mounts in it.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(test: &str) -> Self {
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
pub(crate) async fn ask(netns: &Arc<Netns>, token: &str) -> Result<Received, TunError> {
    let (netns, token) = (netns.clone(), token.to_owned());
    let asking = move || {
        let wanted = Wanted { queues: 2, max_segments: Some(44), token: token.as_bytes() };
        netns.run(|| tun::receive(HELPER_SOCKET, &wanted, LIMIT)).unwrap()
    };
    tokio::task::spawn_blocking(asking).await.unwrap()
}

/// What an agent does when its file says that networks or MTU changed.
pub(crate) async fn update(netns: &Arc<Netns>, token: &str) -> Result<u32, TunError> {
    let (netns, token) = (netns.clone(), token.to_owned());
    let asking = move || {
        let wanted = Wanted { queues: 2, max_segments: Some(44), token: token.as_bytes() };
        netns.run(|| tun::update(HELPER_SOCKET, DEVICE, &wanted, LIMIT)).unwrap()
    };
    tokio::task::spawn_blocking(asking).await.unwrap()
}

/// A packet that an application sends comes out of the device.
pub(crate) fn assert_carries(netns: &Netns, received: &Received) {
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

pub(crate) fn addresses(netns: &Netns) -> Vec<String> {
    let shown = ip(netns, "-br addr show dev tunmesh0");
    shown.split_whitespace().skip(2).map(str::to_owned).collect()
}

/// Output of `ip` inside the namespace.
pub(crate) fn ip(netns: &Netns, arguments: &str) -> String {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    netns.join_on_exec(&mut command).unwrap();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A connection on which nothing is said.
pub(crate) fn connect(name: &str) -> std::os::fd::OwnedFd {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let connection = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let address = UnixAddr::new_abstract(name.trim_start_matches('@').as_bytes()).unwrap();
    connect(connection.as_raw_fd(), &address).unwrap();
    connection
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) const LIMIT: Duration = Duration::from_secs(10);
