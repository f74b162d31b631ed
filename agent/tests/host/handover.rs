//! Agents without any right, given a device by somebody who may make one.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use ipnet::Ipv4Net;
use tunmesh_sys::tun::{self, Features, Hello, Provided, Refusal, Tun, TunSettings};

use crate::confinement::{assert_powerless, threads};
use crate::support::{Lab, UNPRIVILEGED, overlay};

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
fn a_descriptor_that_was_not_handed_over_is_one_clear_line() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    lab.edit(&file, "networking:\n", "networking:\n    tun_handover: {fd: 77}\n");

    let mut agent = lab.start_from(1, &file);

    assert_eq!(agent.wait(), 1);
    assert!(agent.log().contains("descriptor 77 (networking.tun_handover.fd) was not handed over"), "{}", agent.log());
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
