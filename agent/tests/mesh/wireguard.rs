//! A device with a plain WireGuard client as a member through one of the nodes: `wireguard-go`, set up by `wg-quick` from
//! what `tunmesh export wg` prints.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::support::{Agent, Lab, SECRET, SLOW, overlay, wait_for};
use crate::wire::{echo_once, noise};

#[test]
fn a_device_reaches_every_node_and_every_node_reaches_it() {
    let (lab, _agents) = mesh("");
    let phone = Phone::new(&lab, "phone");
    phone.up();

    for node in 1..=3 {
        wait_for(&format!("the phone reaches node {node}"), SLOW, || lab.pings(PHONE, node));
        assert!(lab.pings_at(node, ADDRESS, "2"), "node {node} reaches the phone");
        assert!(ping6(&lab, PHONE, overlay(node)) && ping6(&lab, node, ADDRESS), "IPv6, node {node}");
    }
    for (client, server) in [(1, PHONE), (2, PHONE), (PHONE, 1), (PHONE, 3)] {
        transfer(&lab, client, server);
    }
    // The largest packet of the phone, and of the mesh.
    for (from, to) in [(PHONE, overlay(2)), (2, ADDRESS)] {
        assert!(ping_of(&lab, from, to, 1420).0, "{from} to {to}");
    }
}

#[test]
fn devices_are_in_the_status_of_the_node_that_serves_them() {
    let (lab, _agents) = mesh("");
    let device = |node: usize| lab.status(node).unwrap()["devices"].clone();
    let absent = device(1);
    assert_eq!((&absent[0]["name"], &absent[0]["connected"]), (&"phone".into(), &false.into()), "{absent}");
    assert!(absent[0]["endpoint"].is_null() && absent[0]["handshake_secs"].is_null(), "{absent}");

    let phone = Phone::new(&lab, "phone");
    phone.up();
    wait_for("the phone reaches node 2", SLOW, || lab.pings(PHONE, 2));

    let present = device(1);
    assert_eq!(present[0]["connected"], true, "{present}");
    assert_eq!(present[0]["addresses"][0], ADDRESS.to_string(), "{present}");
    assert!(present[0]["endpoint"].as_str().unwrap().starts_with("10.77.0.4:"), "{present}");
    assert!(present[0]["handshake_secs"].as_f64().unwrap() < 60.0, "{present}");
    for way in ["rx", "tx"] {
        assert!(present[0][way]["packets"].as_u64().unwrap() > 0, "{way}: {present}");
    }
    assert_eq!(device(2), serde_json::json!([]), "it is node 1 that serves it");
    let shown = lab.run(1, env!("CARGO_BIN_EXE_tunmesh"), &["status"]).stdout;
    assert!(String::from_utf8(shown).unwrap().contains("WIREGUARD DEVICE"));
}

/// The gossip tells neither of node 2 nor of node 3, so who is where they hear beside registrations.
#[test]
fn a_device_and_nodes_without_datagrams_reach_each_other_and_so_do_these() {
    let v6 = "    ipv6: {enabled: true}\n";
    let (lab, _agents) = mesh_of(["[udp, stream, v0]", "[stream, v0]", "[v0]"], v6);
    let phone = Phone::new(&lab, "phone");
    phone.up();

    for (node, path) in [(2, "stream"), (3, "v0")] {
        wait_for(&format!("the phone reaches node {node}"), SLOW, || lab.pings(PHONE, node));
        wait_for("the path", SLOW, || lab.peer(1, node).is_some_and(|peer| peer["path"] == path));
        assert!(lab.pings_at(node, ADDRESS, "2"), "node {node} reaches the phone");
        for (client, server) in [(node, PHONE), (PHONE, node)] {
            transfer(&lab, client, server);
        }
    }
    wait_for("IPv6 to the phone", SLOW, || ping6(&lab, 2, ADDRESS));
    assert!(ping6(&lab, PHONE, overlay(2)) && ping6(&lab, 2, overlay(1)), "IPv6 in streams");
    for reason in ["misrouted", "no_return_route", "route_conflict"] {
        assert_eq!(lab.drops(1, reason), 0, "{reason}");
    }
}

#[test]
fn a_packet_in_a_stream_too_large_for_the_device_is_answered_with_its_mtu() {
    let (lab, _agents) = mesh_of(["[udp, stream]", "[stream]", "[stream]"], "    mtu: 1430\n");
    let phone = Phone::new(&lab, "phone");
    phone.up();
    wait_for("the phone reaches node 2", SLOW, || lab.pings(PHONE, 2));

    let (answered, said) = ping_of(&lab, 2, ADDRESS, 1430);
    assert!(!answered && said.contains("1420"), "{said}");
    assert!(ping_of(&lab, 2, ADDRESS, 1420).0);
}

#[test]
fn a_packet_too_large_for_the_device_is_answered_with_its_mtu() {
    let (lab, _agents) = mesh("    mtu: 1430\n");
    let phone = Phone::new(&lab, "phone");
    phone.up();
    wait_for("the phone reaches node 2", SLOW, || lab.pings(PHONE, 2));

    for node in [1, 2] {
        let (answered, said) = ping_of(&lab, node, ADDRESS, 1430);
        assert!(!answered && said.contains("1420"), "node {node}: {said}");
    }
    assert!(ping_of(&lab, 2, ADDRESS, 1420).0);
}

#[test]
fn a_device_with_another_key_is_never_answered() {
    let (lab, agents) = mesh("");
    let phone = Phone::new(&lab, "phone");
    let key = |text: &str| text.lines().find(|line| line.starts_with("PrivateKey")).unwrap().to_owned();
    let others = lab.run(PHONE, "wg", &["genkey"]).stdout;
    let others = format!("PrivateKey = {}", String::from_utf8(others).unwrap().trim());
    let honest = fs::read_to_string(&phone.file).unwrap();
    fs::write(&phone.file, honest.replace(&key(&honest), &others)).unwrap();
    phone.up();

    // A datagram of its own wakes it up; it asks every five seconds.
    assert!(!lab.pings_at(PHONE, overlay(1), "1"));
    agents[0].wait_for_log(2, "no peer has the public key of the sender");
    assert_eq!(phone.received(), 0);

    fs::write(&phone.file, honest).unwrap();
    phone.reset();
    wait_for("the phone with its own key reaches node 1", SLOW, || lab.pings(PHONE, 1));
    assert!(phone.received() > 0);
}

/// Sessions are renewed every two minutes; here each is forgotten by one end, and whoever has something to send makes
/// the next one. `scripts/wg_rekey.py` waits for the renewals.
#[test]
fn sessions_are_made_anew_by_either_end() {
    let (lab, agents) = mesh("");
    let phone = Phone::new(&lab, "phone");
    phone.up();
    wait_for("the phone reaches node 1", SLOW, || lab.pings(PHONE, 1));
    let file = lab.folder.join("node1.yaml");
    let (own, other) = (format!("{{address: {ADDRESS}}}"), format!("{{address: {ADDRESS}, public_key: {SOME_KEY}}}"));

    for round in 1..=10 {
        // The node forgets sessions with a device that gets another key.
        lab.edit(&file, &own, &other);
        agents[0].reload();
        lab.edit(&file, &other, &own);
        agents[0].reload();
        let (asked, answered) = (phone.said("Sending handshake initiation"), phone.said("Sending handshake response"));
        wait_for(&format!("node 2 reaches the phone, round {round}"), SLOW, || lab.pings_at(2, ADDRESS, "1"));
        assert!(phone.said("Sending handshake response") > answered, "round {round}");
        assert_eq!(phone.said("Sending handshake initiation"), asked, "round {round}");

        let heard = phone.said("Received handshake response");
        phone.reset();
        wait_for(&format!("the phone reaches node 2, round {round}"), SLOW, || lab.pings(PHONE, 2));
        assert!(phone.said("Received handshake response") > heard, "round {round}");
    }
}

#[test]
fn devices_come_and_go_with_the_file() {
    let (lab, agents) = mesh("");
    let file = lab.folder.join("node1.yaml");
    let phone = format!("phone: {{address: {ADDRESS}}}");
    let both = format!("{phone}, tablet: {{address: 192.168.129.71}}");
    lab.edit(&file, &phone, &both);
    agents[0].reload();
    let tablet = Phone::new(&lab, "tablet");
    tablet.up();
    wait_for("the new device reaches node 3", SLOW, || lab.pings(PHONE, 3));
    assert!(lab.pings_at(3, Ipv4Addr::new(192, 168, 129, 71), "2"));

    lab.edit(&file, &both, &phone);
    agents[0].reload();

    assert!(!lab.pings_at(PHONE, overlay(1), "1"), "a device that was removed is not answered");
    assert!(!lab.pings_at(3, Ipv4Addr::new(192, 168, 129, 71), "1"));
}

#[test]
fn a_device_is_served_while_the_cluster_secret_changes() {
    let (lab, agents) = mesh("");
    let phone = Phone::new(&lab, "phone");
    phone.up();
    wait_for("the phone reaches node 2", SLOW, || lab.pings(PHONE, 2));
    let auth = |secret: &str, previous: &str| format!("auth: {{secret: {secret}, previous_secrets: [{previous}]}}");
    let plain = |secret: &str| format!("auth: {{secret: {secret}}}");
    let everywhere = |from: &str, to: &str| {
        for agent in &agents {
            lab.edit(&lab.folder.join(format!("node{}.yaml", agent.number)), from, to);
            agent.reload();
        }
    };

    everywhere(&plain(SECRET), &auth(SECRET, NEW_SECRET));
    everywhere(&auth(SECRET, NEW_SECRET), &auth(NEW_SECRET, SECRET));
    phone.reset();
    wait_for("the phone with its old keys reaches node 2", SLOW, || lab.pings(PHONE, 2));

    let before = fs::read_to_string(&phone.file).unwrap();
    let renewed = export(&lab, "phone");
    assert_ne!(renewed, before);
    fs::write(&phone.file, &renewed).unwrap();
    phone.reset();
    wait_for("the phone with its new keys reaches node 2", SLOW, || lab.pings(PHONE, 2));

    everywhere(&auth(NEW_SECRET, SECRET), &plain(NEW_SECRET));
    assert!(lab.pings_at(PHONE, overlay(2), "2"));
    fs::write(&phone.file, before).unwrap();
    phone.reset();
    agents[0].wait_for_log(1, "mac1 is wrong");
    assert!(!lab.pings_at(PHONE, overlay(2), "1"), "the old keys are worth nothing any more");
}

/// Nodes 1 to 3, of which the first serves the device `phone`; `networking` is added to that group on all of them.
fn mesh(networking: &str) -> (Lab, Vec<Agent>) {
    mesh_of(["[udp, stream, v0]"; 3], networking)
}

/// The same, with these paths.
fn mesh_of(paths: [&str; 3], networking: &str) -> (Lab, Vec<Agent>) {
    let lab = Lab::new(PHONE);
    let agents = [1, 2, 3].map(|number| {
        let devices = if number == 1 {
            format!("    wireguard_peers: {{phone: {{address: {ADDRESS}}}}}\n")
        } else {
            String::new()
        };
        let file = lab.config(number, "  logging: {level: debug}\n");
        let paths = paths[number - 1];
        let networking = format!("networking:\n    data_plane: {{paths: {paths}}}\n{networking}{devices}");
        lab.edit(&file, "networking:\n", &networking);
        lab.start_from(number, &file)
    });
    lab.wait_for_mesh(&[1, 2, 3]);
    (lab, agents.into())
}

/// A device with `wireguard-go` in the last namespace; gone when dropped.
struct Phone<'a> {
    lab: &'a Lab,
    /// What `tunmesh export wg` printed; its name is that of the interface.
    file: PathBuf,
    log: PathBuf,
}

impl<'a> Phone<'a> {
    fn new(lab: &'a Lab, name: &str) -> Self {
        // wireguard-go has its sockets in one folder for all namespaces.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let interface = format!("w{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let file = lab.write(&format!("{interface}.conf"), &export(lab, name));
        Self { lab, file, log: lab.folder.join(format!("{name}-wireguard-go.log")) }
    }

    fn up(&self) {
        assert!(self.quick("up"), "{}", fs::read_to_string(&self.log).unwrap());
    }

    /// Forgets all sessions, as a phone that was switched off.
    fn reset(&self) {
        let stripped = self.lab.run(PHONE, "wg-quick", &["strip", self.file.to_str().unwrap()]).stdout;
        let stripped = self.lab.write("stripped", &String::from_utf8(stripped).unwrap());
        let set = self.lab.run(PHONE, "wg", &["setconf", self.interface(), stripped.to_str().unwrap()]);
        assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    }

    /// Bytes that came from the node, of handshakes too.
    fn received(&self) -> u64 {
        let shown = self.lab.run(PHONE, "wg", &["show", self.interface(), "transfer"]).stdout;
        String::from_utf8(shown).unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How often its log says so.
    fn said(&self, text: &str) -> usize {
        fs::read_to_string(&self.log).unwrap().matches(text).count()
    }

    fn interface(&self) -> &str {
        self.file.file_stem().and_then(|stem| stem.to_str()).unwrap()
    }

    fn quick(&self, what: &str) -> bool {
        let log = || File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new("wg-quick");
        command.arg(what).arg(&self.file).env("LOG_LEVEL", "verbose").stdin(Stdio::null()).stdout(log()).stderr(log());
        self.lab.netns(PHONE).join_on_exec(&mut command).unwrap();
        command
            .status()
            .unwrap_or_else(|error| panic!("wg-quick could not be started ({error}); make setup installs it"))
            .success()
    }
}

impl Drop for Phone<'_> {
    fn drop(&mut self) {
        self.quick("down");
        wait_for("wireguard-go ends", SLOW, || {
            !Path::new("/var/run/wireguard").join(format!("{}.sock", self.interface())).exists()
        });
    }
}

/// What `tunmesh export wg` prints at node 1.
fn export(lab: &Lab, name: &str) -> String {
    let config = lab.folder.join("node1.yaml");
    let args = ["export", "wg", "--name", name, "--config", config.to_str().unwrap()];
    let exported = lab.run(1, env!("CARGO_BIN_EXE_tunmesh"), &args);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    String::from_utf8(exported.stdout).unwrap()
}

/// Sends a megabyte over TCP and has it come back unchanged.
fn transfer(lab: &Lab, client: usize, server: usize) {
    let address = if server == PHONE { ADDRESS } else { overlay(server) };
    let listener = lab.netns(server).run(|| TcpListener::bind((address, 0))).unwrap().unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut writer = lab.netns(client).run(|| TcpStream::connect((address, port))).unwrap().unwrap();
    let mut reader = writer.try_clone().unwrap();
    let sent = noise(client as u64, 1 << 20);

    let back = std::thread::scope(|scope| {
        scope.spawn(|| echo_once(&listener));
        let reading = scope.spawn(move || {
            let mut back = Vec::new();
            reader.read_to_end(&mut back).unwrap();
            back
        });
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
        reading.join().unwrap()
    });

    assert!(back == sent, "{} bytes of {} from {client} to {server}", back.len(), sent.len());
}

/// Whether one unfragmented echo in a packet of `len` bytes comes back; and what `ping` said.
fn ping_of(lab: &Lab, from: usize, to: Ipv4Addr, len: usize) -> (bool, String) {
    let payload = (len - 28).to_string();
    let output = lab.run(from, "ping", &["-n", "-M", "do", "-c", "1", "-W", "2", "-s", &payload, &to.to_string()]);
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Whether an echo comes back from the IPv6 address of whoever has that IPv4 address.
fn ping6(lab: &Lab, from: usize, to: Ipv4Addr) -> bool {
    let network = tunmesh_protocol::mesh_ipv6_network("192.168.129.0/24".parse().unwrap());
    let to = tunmesh_protocol::mesh_ipv6(network, to).to_string();
    lab.run(from, "ping", &["-6", "-n", "-c", "1", "-W", "2", &to]).status.success()
}

/// Number of the namespace with the device.
const PHONE: usize = 4;

/// Address of the device `phone`.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 129, 70);

/// The cluster secret that follows [`SECRET`].
const NEW_SECRET: &str = "ooP3ohGh7ahngae8aed4oosh0aiV5ahJieT5";

/// A public key of nobody here (RFC 7748, section 6.1).
const SOME_KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
