//! A machine outside the cluster joins with what the operator wrote for it.

use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use k8s_openapi::api::core::v1::{Node, Secret};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;
use tunmesh_crds::TunMesh;
use tunmesh_e2e::cluster::run;

use crate::support::{IDLE, START, Stage, deployment, eventually};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs make e2e"]
async fn a_machine_outside_the_cluster_joins_with_its_secret_and_pings_pods() {
    let stage = Stage::new("outside").await;
    stage.apply(
        "apiVersion: tunmesh.io/v1alpha1\nkind: TunMesh\nmetadata: {name: office}\nspec: {exposure: {type: NodePort}}\n",
    );
    stage.apply(&deployment("web", 2, Some("office"), IDLE));
    let pods = stage.pods("app=web", 2).await;
    let meshes = stage.api::<TunMesh>();
    eventually("where the mesh is reached", START, || async {
        let status = meshes.get("office").await.unwrap().status.unwrap_or_default();
        if status.endpoints.is_empty() { Err(status) } else { Ok(()) }
    })
    .await;
    let mut machine = Machine::beside_the_nodes(&stage).await;
    stage.apply(&format!(
        "apiVersion: tunmesh.io/v1alpha1\nkind: TunMeshMember\nmetadata: {{name: vm}}\n\
         spec: {{mesh: {{name: office}}, outside: {{advertisedAddress: {}}}}}\n",
        machine.address
    ));
    let secrets: Api<Secret> = stage.api();
    let secret = eventually("the Secret of the machine", START, || async {
        let member = || stage.kubectl(&["get", "tmm", "vm", "--output=yaml"]);
        secrets.get_opt("tunmesh-member-vm").await.unwrap().ok_or_else(member)
    })
    .await;
    let [own, _] = stage.addresses("vm").await;

    let begun = Instant::now();
    machine.run(&stage, &secret);

    for pod in &pods {
        for address in stage.addresses(&pod.name_any()).await {
            machine.reaches(address).await;
        }
    }
    println!("a machine outside reached all pods {:.1} s after its start", begun.elapsed().as_secs_f64());
    stage.shell(&pods[0].name_any(), &format!("ping -qnc1 -w5 {own}"));
}

/// A network namespace beside the nodes, and what runs there; both end with it.
struct Machine {
    namespace: String,
    address: Ipv4Addr,
    folder: PathBuf,
    agent: Option<Child>,
}

impl Machine {
    /// Plugs it in where the nodes are, with an address of their network, and with the ways to their pods.
    async fn beside_the_nodes(stage: &Stage) -> Self {
        let nodes = Api::<Node>::all(stage.client.clone()).list(&ListParams::default()).await.unwrap().items;
        let places: Vec<_> = nodes.iter().map(|node| (internal_address(node), pods_of(node))).collect();
        let network = stage.cluster.network();
        let route = ip(&["-n", &network, "-json", "route", "get", &places[0].0.to_string()]);
        let route: Value = serde_json::from_str(&route).unwrap();
        let bridge = route[0]["dev"].as_str().unwrap();
        let number = std::process::id();
        let machine = Self {
            namespace: format!("tunmesh-machine-{number}"),
            // The engine gives addresses from the first one on.
            address: Ipv4Addr::from_bits((places[0].0.to_bits() | 0xff) - 5),
            folder: std::env::temp_dir().join(format!("tunmesh-machine-{number}")),
            agent: None,
        };
        let inside = ["-n", machine.namespace.as_str()];
        ip(&["netns", "add", &machine.namespace]);
        ip(&[&inside[..], &["link", "add", "eth0", "type", "veth", "peer", "name", PLUG, "netns", &network]].concat());
        ip(&["-n", &network, "link", "set", PLUG, "master", bridge, "up"]);
        ip(&[&inside[..], &["link", "set", "lo", "up"]].concat());
        ip(&[&inside[..], &["link", "set", "eth0", "up"]].concat());
        ip(&[&inside[..], &["address", "add", &format!("{}/16", machine.address), "dev", "eth0"]].concat());
        for (node, pods) in places {
            ip(&[&inside[..], &["route", "add", &pods, "via", &node.to_string()]].concat());
        }
        machine
    }

    /// Starts the agent with the Secret, as a person would who copied it there.
    fn run(&mut self, stage: &Stage, secret: &Secret) {
        self.write(secret);
        let log = fs::File::create(self.folder.join("log")).unwrap();
        let mut agent = Command::new("ip");
        agent.args(["netns", "exec", &self.namespace]).arg(stage.cluster.program("tunmesh"));
        agent.arg("run").arg("--config").arg(self.folder.join("config.yaml"));
        agent.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.agent = Some(agent.spawn().unwrap());
    }

    /// Writes the Secret as it is, a file for each key, readable for the agent's user.
    fn write(&self, secret: &Secret) {
        fs::create_dir(&self.folder).unwrap();
        fs::set_permissions(&self.folder, Permissions::from_mode(0o755)).unwrap();
        for (name, content) in secret.data.iter().flatten() {
            fs::write(self.folder.join(name), &content.0).unwrap();
        }
    }

    async fn reaches(&self, address: IpAddr) {
        eventually(&format!("an answer of {address}"), START, || async {
            let ping = ["netns", "exec", &self.namespace, "ping", "-qnc1", "-W1", &address.to_string()];
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            run(Command::new("ip").args(ping)).map_err(|error| format!("{error}\n{}", log()))
        })
        .await;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // `ip netns exec` becomes the agent.
            let _ended_already = agent.kill();
            let _waited = agent.wait();
        }
        let _never_made = run(Command::new("ip").args(["netns", "delete", &self.namespace]));
        let _never_written = fs::remove_dir_all(&self.folder);
    }
}

fn internal_address(node: &Node) -> Ipv4Addr {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal =
        addresses.filter(|address| address.type_ == "InternalIP").find_map(|address| address.address.parse().ok());
    internal.unwrap_or_else(|| panic!("{} has no IPv4 address", node.name_any()))
}

fn pods_of(node: &Node) -> String {
    node.spec.as_ref().and_then(|spec| spec.pod_cidr.clone()).unwrap()
}

fn ip(arguments: &[&str]) -> String {
    run(Command::new("ip").args(arguments)).unwrap_or_else(|error| panic!("{error}"))
}

/// The end of its cable at the nodes.
const PLUG: &str = "machine";
