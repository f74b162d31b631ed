//! Agents without any right, given a device by somebody who may make one.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use ipnet::Ipv4Net;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tunmesh_sys::tun::{self, Features, Hello, Provided, ProvidedSettings, Refusal, Tun, TunSettings};

use crate::confinement::{assert_powerless, threads};
use crate::support::{Lab, SLOW, UNPRIVILEGED, overlay, wait_for};

#[test]
fn an_agent_without_any_right_runs_on_an_inherited_descriptor() {
    let lab = Lab::new(2);
    let file = lab.config(1, "");
    lab.edit(&file, "networking:\n", "networking:\n    tun_handover: {fd: 3}\n");
    let device = OwnedFd::from(lab.netns(1).run(|| device(1)).unwrap());
    // It arrives as standard input, which no other child of this process inherits by accident, and becomes number 3.
    let move_to_3 = ["sh", "-c", "exec 3<&0 </dev/null; exec \"$@\"", "sh"];
    let binary = lab.binary();
    let command = [&move_to_3[..], &UNPRIVILEGED, &[&binary]].concat();

    let first = lab.start_by(1, &command, Stdio::from(device), &file);
    let _second = lab.start(2, "");

    lab.wait_for_mesh(&[1, 2]);
    for status in threads(&first) {
        assert_powerless(&status, "65532", "65532");
    }
}

#[test]
fn an_agent_without_any_right_receives_a_device_over_a_socket() {
    let lab = Lab::new(2);
    let file = lab.config(1, "");
    lab.edit(&file, "networking:\n", "networking:\n    tun_handover: {socket: \"@tunmesh.helper\"}\n");
    let binary = lab.binary();
    let command = [&UNPRIVILEGED[..], &[&binary]].concat();

    let first = lab.start_by(1, &command, Stdio::null(), &file);
    let netns = lab.netns(1);
    let listener = netns.run(|| tun::listen("@tunmesh.helper")).unwrap().unwrap();
    let helper = || {
        tun::hand_over(listener.as_fd(), Duration::from_secs(20), |_, hello| {
            Ok(device(usize::from(hello.queues)).into())
        })
    };
    let peer = netns.run(helper).unwrap().unwrap().peer();
    let _second = lab.start(2, "");

    assert_eq!((peer.uid, peer.gid), (65532, 65532));
    assert_eq!(peer.pid.cast_unsigned(), first.pid());
    lab.wait_for_mesh(&[1, 2]);
    for status in threads(&first) {
        assert_powerless(&status, "65532", "65532");
    }
}

#[test]
fn an_agent_that_is_refused_asks_again_with_the_token_of_that_moment() {
    let lab = Lab::new(2);
    let file = lab.config(1, "");
    let token = lab.write("token", "early");
    let handover = format!("tun_handover: {{socket: \"@tunmesh.helper\", token_file: {}}}", token.display());
    lab.edit(&file, "networking:\n", &format!("networking:\n    {handover}\n"));
    let netns = lab.netns(1);
    let listener = netns.run(|| tun::listen("@tunmesh.helper")).unwrap().unwrap();
    let hand_over = |give: &(dyn Fn(&Hello) -> Result<Provided, Refusal> + Sync)| {
        netns.run(|| tun::hand_over(listener.as_fd(), Duration::from_secs(20), |_, hello| give(hello))).unwrap()
    };

    let agent = lab.start_from(1, &file);
    let refused = hand_over(&|hello| {
        assert_eq!(hello.token, b"early");
        lab.write("token", "late\n");
        Err(Refusal::Member)
    });
    assert!(refused.is_err());
    let given = hand_over(&|hello| {
        assert_eq!(hello.token, b"late");
        Ok(device(usize::from(hello.queues)).into())
    });
    let lifted = given.unwrap().lift_buffers(16 << 20).unwrap();
    let _second = lab.start(2, "");

    assert!(lifted > 0);
    lab.wait_for_mesh(&[1, 2]);
    assert!(agent.log().contains("the pod is no member of a mesh, or not yet"), "{}", agent.log());
}

#[test]
fn a_device_that_was_handed_over_follows_the_file_while_packets_flow() {
    let lab = Lab::new(2);
    let file = lab.config(1, "");
    let token = lab.write("token", "early");
    let handover = format!("tun_handover: {{socket: \"@tunmesh.helper\", token_file: {}}}", token.display());
    lab.edit(&file, "networking:\n", &format!("networking:\n    {handover}\n"));
    let binary = lab.binary();
    let command = [&UNPRIVILEGED[..], &[&binary]].concat();
    let netns = lab.netns(1);
    let listen = || netns.run(|| tun::listen("@tunmesh.helper")).unwrap().unwrap();
    let hand_over = |listener: &OwnedFd, give: &(dyn Fn(&Hello) -> Provided + Sync)| {
        let helper = || tun::hand_over(listener.as_fd(), Duration::from_secs(20), |_, hello| Ok(give(hello)));
        netns.run(helper).unwrap().unwrap()
    };
    let listener = listen();
    let agent = lab.start_by(1, &command, Stdio::null(), &file);
    drop(hand_over(&listener, &|hello| tun::provide(&provided(hello.queues, 1300, &["192.168.129.0/24"])).unwrap()));
    let _second = lab.start(2, "");
    lab.wait_for_mesh(&[1, 2]);

    // The helper is away when the file changes.
    drop(listener);
    lab.write("token", "late");
    let mut pings = Command::new("ping");
    pings.args(["-n", "-i", "0.02", &overlay(2).to_string()]).stdout(Stdio::piped());
    netns.join_on_exec(&mut pings).unwrap();
    let pings = pings.spawn().unwrap();
    lab.edit(&file, "networking:\n", "networking:\n    mtu: 1400\n");
    lab.edit(&file, "ipv4: {", "ipv4: {further_networks: [192.168.130.0/24], ");
    agent.wait_for_log(1, "asking the node helper again");
    let listener = listen();
    drop(hand_over(&listener, &|hello| {
        assert_eq!((hello.queues, &hello.token[..]), (0, &b"late"[..]));
        tun::update_provided(&provided(0, 1400, &["192.168.129.0/24", "192.168.130.0/24"])).unwrap()
    }));
    agent.wait_for_log(1, "device brought up to date");
    wait_for("larger packets are sent", SLOW, || lab.peer(1, 2).is_some_and(|peer| peer["largest_packet"] == 1400));
    kill(Pid::from_raw(pings.id().cast_signed()), Signal::SIGINT).unwrap();
    let pings = String::from_utf8(pings.wait_with_output().unwrap().stdout).unwrap();

    let numbers: Vec<usize> = pings.lines().filter_map(sequence).collect();
    assert!(numbers.len() > 10 && numbers.iter().copied().eq(1..=numbers.len()), "a ping was lost:\n{pings}");
    assert_eq!(lab.ask(1).unwrap()["mtu"], 1400);
    let route = lab.run(1, "ip", &["route", "get", "192.168.130.9"]).stdout;
    assert!(String::from_utf8_lossy(&route).contains("dev tun1 src 192.168.129.10"), "{route:?}");
    assert!(!agent.log().contains("needs a restart"), "{}", agent.log());
}

#[test]
fn a_descriptor_that_was_not_handed_over_is_one_clear_line() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    lab.edit(&file, "networking:\n", "networking:\n    tun_handover: {fd: 77}\n");

    let mut agent = lab.start_from(1, &file);

    assert_eq!(agent.wait(), 1);
    assert!(agent.log().contains("descriptor 77 (networking.tun_handover.fd) was not handed over"), "{}", agent.log());
}

/// Number of an answered ping, by the line that tells of it.
fn sequence(line: &str) -> Option<usize> {
    line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok()
}

/// How a helper makes the device of node 1.
fn provided(queues: u16, mtu: u32, networks: &[&str]) -> ProvidedSettings<'static> {
    ProvidedSettings {
        name: "tun1",
        owner: "node 1",
        addresses: vec![overlay(1).into()],
        networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        mtu,
        queue_len: 500,
        max_segments: None,
        queues,
    }
}

/// A device for node 1, in the calling thread's namespace.
fn device(queues: usize) -> Tun {
    let network: Ipv4Net = "192.168.129.0/24".parse().unwrap();
    let settings = TunSettings {
        name: "tun1",
        address: Ipv4Net::new(overlay(1), 26).unwrap(),
        network,
        extra_addresses: &[],
        routes: &[],
        mtu: 1500,
        queue_len: 500,
    };
    tun::create_with(&settings, &Features { queues, ..Features::default() }).unwrap()
}
