//! Sealed datagrams between our own agents: what carries packets, and what happens when it no longer can.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tunmesh_emulator::{Block, End, Impairments, Link};
use tunmesh_protocol::{mesh_ipv6, mesh_ipv6_network};

use crate::QUICK;
use crate::stream_of_bytes::StreamOfBytes;
use crate::support::{Agent, Lab, SLOW, overlay, wait_for};

#[test]
fn packets_between_our_own_agents_go_into_sealed_datagrams() {
    let (lab, _agents) = mesh(2);

    wait_for_path(&lab, 1, 2, "udp");
    wait_for_path(&lab, 2, 1, "udp");

    let before = lab.peer(1, 2).unwrap()["tx"]["packets"].as_u64().unwrap();
    assert!(lab.pings(1, 2));
    let peer = lab.peer(1, 2).unwrap();
    assert_eq!(peer["tx"]["packets"], before + 1);
    assert_eq!(peer["answer_micros"], serde_json::Value::Null, "nothing went through the v0 protocol");
}

#[test]
fn ipv6_passes_as_ipv4_does() {
    let (lab, _agents) = mesh(2);
    let address = ipv6(2).to_string();

    wait_for("an echo over IPv6", SLOW, || {
        lab.run(1, "ping", &["-6", "-n", "-c", "1", "-W", "1", &address]).status.success()
    });
    assert!(lab.run(1, "ping", &["-6", "-n", "-c", "1", "-W", "1", "-s", "1300", &address]).status.success());
}

#[test]
fn a_node_on_a_host_without_ipv6_tells_nobody_to_send_any() {
    let lab = Lab::new(2);
    let switch = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
    lab.netns(2).run(|| std::fs::write(switch, "1")).unwrap().unwrap();
    let _agents = [1, 2].map(|number| lab.start(number, QUICK));
    lab.wait_for_mesh(&[1, 2]);

    let addresses = [1, 2].map(|number| lab.ask(number).unwrap()["address_ipv6"].clone());
    assert_eq!(addresses, [format!("{}/64", ipv6(1)).into(), serde_json::Value::Null]);
    assert!(lab.pings(1, 2));
}

#[test]
fn a_connection_survives_blocked_datagrams_and_comes_back_to_them() {
    let (lab, _agents) = mesh(2);
    wait_for_path(&lab, 1, 2, "udp");
    let stream = StreamOfBytes::start(&lab, 1, 2);
    wait_for("the stream flows", SLOW, || stream.blocks() > 10);

    firewall(
        &lab,
        1,
        "add table inet test { chain out { type filter hook output priority 0; oifname != \"tun1\" meta l4proto udp drop; }; }",
    );
    wait_for("another path", SLOW, || lab.peer(1, 2).is_some_and(|peer| peer["path"] != "udp"));
    let before = stream.blocks();
    wait_for("the stream flows on", SLOW, || stream.blocks() > before + 10);

    firewall(&lab, 1, "delete table inet test");
    wait_for_path(&lab, 1, 2, "udp");
    let before = stream.blocks();
    wait_for("the stream flows on", SLOW, || stream.blocks() > before + 10);
    stream.finish();
}

#[test]
fn a_node_that_moves_to_another_address_is_followed() {
    let (lab, _agents) = mesh(2);
    wait_for_path(&lab, 1, 2, "udp");
    let stream = StreamOfBytes::start(&lab, 2, 1);
    wait_for("the stream flows", SLOW, || stream.blocks() > 10);

    assert!(lab.run(2, "ip", &["address", "delete", "10.77.0.2/24", "dev", "eth0"]).status.success());
    assert!(lab.run(2, "ip", &["address", "add", "10.77.0.22/24", "dev", "eth0"]).status.success());

    let before = stream.blocks();
    wait_for("the stream flows on", SLOW, || stream.blocks() > before + 10);
    assert!(stream.slowest() < Duration::from_secs(3), "{:?}", stream.slowest());
    stream.finish();
}

#[test]
fn a_peer_that_was_started_again_is_reached_again_and_others_do_not_notice() {
    let (lab, mut agents) = mesh(3);
    wait_for_path(&lab, 1, 2, "udp");
    let stream = StreamOfBytes::start(&lab, 1, 2);

    agents.pop().unwrap().kill();
    let _again = lab.start(3, QUICK);

    wait_for("the node is reached again", SLOW, || lab.pings_at(1, overlay(3), "0.2"));
    wait_for_path(&lab, 1, 3, "udp");
    let before = stream.blocks();
    wait_for("the stream flows on", SLOW, || stream.blocks() > before + 10);
    stream.finish();
}

#[test]
fn loss_reordering_and_duplicates_change_no_byte() {
    let impairments = ["loss 2", "reorder 20", "reorder-delay 3", "duplicate 2", "delay 2"];
    let (lab, link) = far_apart(&impairments);
    let _agents = [1, 2].map(|number| lab.start(number, QUICK));
    lab.wait_for_mesh(&[1, 2]);

    let stream = StreamOfBytes::start(&lab, 1, 2);
    wait_for("two megabytes came back", SLOW * 2, || stream.blocks() > 64);
    stream.finish();

    let [one, other] = link.counters().unwrap();
    assert!(one.lost + other.lost > 0, "the link lost nothing");
    assert!(lab.drops(1, "replayed") + lab.drops(2, "replayed") > 0, "no duplicate arrived");
    assert_eq!(lab.drops(1, "forged") + lab.drops(2, "forged"), 0);
}

#[test]
fn without_udp_from_the_start_a_mesh_stands_all_the_same() {
    let (lab, link) = far_apart(&[]);
    link.set(Impairments { block: Block::Udp, ..Impairments::default() }).unwrap();
    let _agents = [1, 2].map(|number| lab.start(number, QUICK));

    lab.wait_for_mesh(&[1, 2]);

    assert_ne!(lab.peer(1, 2).unwrap()["path"], "udp");
}

#[test]
fn a_packet_that_does_not_fit_the_path_is_answered_and_fits_thereafter() {
    let (lab, _agents) = mesh(2);
    wait_for_path(&lab, 1, 2, "udp");
    for number in [1, 2] {
        assert!(lab.run(number, "ip", &["link", "set", "eth0", "mtu", "1400"]).status.success());
    }
    let ping =
        |len: &str| lab.run(1, "ping", &["-n", "-M", "do", "-c", "1", "-W", "1", "-s", len, &overlay(2).to_string()]);

    wait_for("the sender is told", SLOW, || {
        let output = ping("1390");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        !output.status.success() && (said.contains("Frag needed") || said.contains("message too long"))
    });

    wait_for("what fits passes", SLOW, || ping("1290").status.success());
}

#[test]
fn our_own_agents_and_a_v0_node_are_one_mesh() {
    let lab = Lab::new(3);
    let plain = lab.config(3, QUICK);
    lab.edit(&plain, "networking:\n", "networking:\n    data_plane: {paths: [v0]}\n");
    let _agents = [lab.start(1, QUICK), lab.start(2, QUICK), lab.start_from(3, &plain)];

    lab.wait_for_mesh(&[1, 2, 3]);

    wait_for_path(&lab, 1, 2, "udp");
    assert_eq!(lab.peer(1, 3).unwrap()["path"], "v0");
    assert_eq!(lab.peer(3, 1).unwrap()["path"], "v0");
}

#[test]
fn a_node_of_the_original_protocol_only_is_refused_where_it_is_not_wanted() {
    let lab = Lab::new(3);
    let plain = lab.config(3, QUICK);
    lab.edit(&plain, "networking:\n", "networking:\n    data_plane: {paths: [v0]}\n");
    let files = [1, 2].map(|number| {
        let file = lab.config(number, QUICK);
        lab.edit(&file, "auth: {", "auth: {refuse_original: true, ");
        file
    });
    let _agents = [lab.start_from(1, &files[0]), lab.start_from(2, &files[1])];
    lab.wait_for_mesh(&[1, 2]);
    let agent = lab.start_from(3, &plain);

    wait_for("a refusal in the log", SLOW, || agent.log().contains("403"));
    assert!(lab.peer(1, 3).is_none() && lab.peer(2, 3).is_none());
}

#[test]
fn either_end_can_choose_the_suite_of_wireguard() {
    let lab = Lab::new(2);
    let file = lab.config(2, QUICK);
    lab.edit(&file, "networking:\n", "networking:\n    data_plane: {suite: chachapoly}\n");
    let _agents = [lab.start(1, QUICK), lab.start_from(2, &file)];
    lab.wait_for_mesh(&[1, 2]);
    wait_for_path(&lab, 1, 2, "udp");

    let stream = StreamOfBytes::start(&lab, 1, 2);
    wait_for("the stream flows", SLOW, || stream.blocks() > 10);
    stream.finish();
    assert_eq!(lab.peer(1, 2).unwrap()["suite"], "chachapoly");
}

#[test]
fn multicast_reaches_those_who_joined_and_nobody_else() {
    let (lab, _agents) = mesh(3);
    let group = Ipv4Addr::new(239, 7, 7, 7);
    let bound = |number: usize| {
        let socket = lab.netns(number).run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7200))).unwrap().unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let receivers = [bound(2), bound(3)];
    receivers[0].join_multicast_v4(&group, &overlay(2)).unwrap();
    let sender = lab.netns(1).run(|| Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))).unwrap().unwrap();
    sender.set_multicast_if_v4(&overlay(1)).unwrap();
    let sender = UdpSocket::from(sender);

    let mut buffer = [0; 16];
    wait_for("a packet of the group", SLOW, || {
        sender.send_to(b"to the group", (group, 7200)).unwrap();
        receivers[0].recv(&mut buffer).is_ok_and(|len| &buffer[..len] == b"to the group")
    });
    assert!(lab.pings(1, 3), "what was sent before has arrived");
    assert_eq!(receivers[1].recv(&mut buffer).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn many_connections_at_once_pass_unchanged() {
    let (lab, _agents) = mesh(2);
    wait_for_path(&lab, 1, 2, "udp");
    let listener = lab.netns(2).run(|| TcpListener::bind((overlay(2), 7300))).unwrap().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| crate::wire::echo_once(&listener));
        }
        for seed in 0..4 {
            let lab = &lab;
            scope.spawn(move || crate::wire::echoed(lab, 1, (overlay(2), 7300), seed, 4 << 20));
        }
    });
}

fn mesh(count: usize) -> (Lab, Vec<Agent>) {
    let lab = Lab::new(count);
    let agents = (1..=count).map(|number| lab.start(number, QUICK)).collect();
    lab.wait_for_mesh(&(1..=count).collect::<Vec<_>>());
    (lab, agents)
}

/// Two namespaces without a switch, on either side of an emulated link.
fn far_apart(impairments: &[&str]) -> (Lab, Link) {
    let lab = Lab::new(2);
    for number in [1, 2] {
        assert!(lab.run(number, "ip", &["link", "delete", "eth0"]).status.success());
    }
    let addresses = [1, 2].map(|number| [format!("10.77.0.{number}/24").parse().unwrap()]);
    let end = |number: usize| End {
        netns: lab.netns(number),
        name: "wan0",
        addresses: &addresses[number - 1],
        mtu: 1500,
        queue_len: 10_000,
    };
    let mut settings = Impairments::default();
    for impairment in impairments {
        let (name, value) = impairment.split_once(' ').unwrap();
        settings.set(name, value).unwrap();
    }
    let link = Link::start([end(1), end(2)], settings, 1).unwrap();
    (lab, link)
}

fn wait_for_path(lab: &Lab, from: usize, to: usize, path: &str) {
    wait_for(&format!("path {path} from node {from} to node {to}"), SLOW, || {
        lab.pings_at(from, overlay(to), "0.2");
        lab.peer(from, to).is_some_and(|peer| peer["path"] == path)
    });
}

fn firewall(lab: &Lab, number: usize, rule: &str) {
    let output = lab.run(number, "nft", &[rule]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn ipv6(number: usize) -> Ipv6Addr {
    mesh_ipv6(mesh_ipv6_network("192.168.129.0/24".parse().unwrap()), overlay(number))
}
