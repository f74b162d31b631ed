//! Broadcasts: nodes 1 and 2 in the subnet 192.168.129.0/26, node 3 in 192.168.129.64/26.

use std::ffi::OsString;
use std::net::{Ipv4Addr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};

use crate::support::{Agent, Lab, SLOW, wait_for};
use crate::wire::udp;

#[test]
fn broadcasts_reach_their_subnet_and_those_of_the_whole_network_reach_all() {
    let scene = Scene::new(["true", "true", "true"]);

    scene.send(1, LIMITED, "limited");
    scene.send(1, SUBNET, "subnet");
    scene.send(1, NETWORK, "network");

    assert_eq!(scene.received(1, 2), ["limited", "subnet", "network"]);
    assert_eq!(scene.received(1, 3), ["network"]);

    scene.send(3, LIMITED, "limited");
    scene.send(3, Ipv4Addr::new(192, 168, 129, 127), "subnet");
    scene.send(3, NETWORK, "network");

    assert_eq!(scene.received(3, 1), ["network"]);
    assert_eq!(scene.received(3, 2), ["network"]);
}

#[test]
fn broadcasts_are_dropped_and_counted_where_they_are_off_at_the_sender() {
    let scene = Scene::new(["", "true", "true"]);

    for (sent, to) in (1..).zip([LIMITED, SUBNET, NETWORK]) {
        scene.send(1, to, "forbidden");
        wait_for("the drop is counted", SLOW, || scene.lab.drops(1, "config_prohibited") == sent);
    }

    assert!(scene.received(1, 2).is_empty());
    assert!(scene.received(1, 3).is_empty());
}

#[test]
fn broadcasts_are_dropped_and_counted_where_they_are_off_at_the_receiver() {
    let scene = Scene::new(["true", "false", "true"]);

    scene.send(1, NETWORK, "network");

    assert!(scene.received(1, 2).is_empty());
    assert_eq!(scene.received(1, 3), ["network"]);
    assert_eq!(scene.lab.drops(2, "config_prohibited"), 1);
}

/// Three nodes and a socket in each namespace.
struct Scene {
    sockets: Vec<UdpSocket>,
    _agents: Vec<Agent>,
    lab: Lab,
}

impl Scene {
    /// `enabled` is what stands for `enable_broadcast` in the file of each node; nothing at all if empty.
    fn new(enabled: [&str; 3]) -> Self {
        let lab = Lab::new(3);
        let start = |number: usize| {
            let key = enabled[number - 1];
            let key = if key.is_empty() { String::new() } else { format!("enable_broadcast: {key}, ") };
            let file = lab.config(number, "");
            lab.edit(&file, "ipv4: {", &format!("ipv4: {{{key}"));
            // Several packet threads keep the order of each flow only, and every destination is a flow.
            lab.edit(&file, "networking:\n", "networking:\n    data_plane: {workers: 1}\n");
            if number == 3 {
                lab.edit(&file, "192.168.129.30/26", "192.168.129.70/26");
            }
            lab.start_from(number, &file)
        };
        let agents = [1, 2, 3].map(start).into();
        for (from, to) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
            wait_for("every node reaches every other", SLOW, || lab.pings_at(from, address(to), "0.2"));
        }
        let sockets: Vec<_> = [1, 2, 3].map(|number| udp(&lab, number, PORT)).into();
        for socket in &sockets {
            socket.set_broadcast(true).unwrap();
            // The limited broadcast goes where the socket says; there is no route for it.
            setsockopt(socket, sockopt::BindToDevice, &OsString::from("tun1")).unwrap();
        }
        Self { sockets, _agents: agents, lab }
    }

    fn send(&self, from: usize, to: Ipv4Addr, text: &str) {
        self.sockets[from - 1].send_to(text.as_bytes(), (to, PORT)).unwrap();
    }

    /// What node `to` got from node `from` so far: packets to one node arrive in order, so a last one tells the end.
    fn received(&self, from: usize, to: usize) -> Vec<String> {
        self.send(from, address(to), "end");
        let mut received = Vec::new();
        loop {
            let mut buffer = [0; 64];
            let (len, source) = self.sockets[to - 1].recv_from(&mut buffer).unwrap();
            if source.ip() == address(to) {
                // The kernel also hands a broadcast to the host that sends it.
                continue;
            }
            assert_eq!(source.ip(), address(from));
            match std::str::from_utf8(&buffer[..len]).unwrap() {
                "end" => return received,
                text => received.push(text.to_owned()),
            }
        }
    }
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 129, [10, 20, 70][number - 1])
}

const PORT: u16 = 7000;
const LIMITED: Ipv4Addr = Ipv4Addr::BROADCAST;
const SUBNET: Ipv4Addr = Ipv4Addr::new(192, 168, 129, 63);
const NETWORK: Ipv4Addr = Ipv4Addr::new(192, 168, 129, 255);
