//! Namespaces and links. Needs root.

mod support;

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{ip, net};
use tunmesh_sys::links;
use tunmesh_sys::netns::{Netns, NetnsError};
use tunmesh_sys::star::{Star, StarError, VethEnd, veth_pair};

#[test]
fn a_new_namespace_has_a_working_loopback_and_nothing_else() {
    let netns = Netns::create().unwrap();

    assert_eq!(ip(&netns, "-o link show").lines().count(), 1);
    let sent = netns.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"hello", socket.local_addr().unwrap()).unwrap();
        socket.recv(&mut [0; 16]).unwrap()
    });
    assert_eq!(sent.unwrap(), 5);
}

#[test]
fn the_calling_thread_stays_in_its_namespace() {
    let identity = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = identity();
    let netns = Netns::create().unwrap();

    let inside = netns.run(identity).unwrap();

    assert_ne!(inside, before);
    assert_eq!(identity(), before);
    assert_eq!(Netns::current().unwrap().run(identity).unwrap(), before);
    assert!(matches!(Netns::open(Path::new("/absent")), Err(NetnsError::Open { .. })));
}

#[test]
fn a_child_process_starts_inside() {
    let netns = Netns::create().unwrap();
    let inside = netns.run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap()).unwrap();

    let child = support::output(&netns, Command::new("readlink").arg("/proc/self/ns/net"));

    assert_eq!(child.trim(), inside.to_str().unwrap());
}

#[test]
fn a_star_connects_its_leaves() {
    let star = Star::build(net("10.1.0.0/29"), 3, 1500).unwrap();
    let sockets: Vec<UdpSocket> = star
        .leaves
        .iter()
        .zip(&star.addresses)
        .map(|(leaf, address)| leaf.run(|| UdpSocket::bind((address.addr(), 7000))).unwrap().unwrap())
        .collect();
    sockets[2].set_read_timeout(Some(Duration::from_secs(5))).unwrap();

    sockets[0].send_to(b"across", (star.addresses[2].addr(), 7000)).unwrap();

    let (len, from) = sockets[2].recv_from(&mut [0; 16]).unwrap();
    assert_eq!((len, from), (6, "10.1.0.1:7000".parse().unwrap()));
}

#[test]
fn a_star_larger_than_its_network_is_refused() {
    let refused = Star::build(net("10.1.0.0/30"), 3, 1500);

    assert!(matches!(refused, Err(StarError::TooSmall { leaves: 3, .. })));
}

#[test]
fn both_ends_of_a_pair_come_and_go() {
    let (left, right) = (Netns::create().unwrap(), Netns::create().unwrap());
    let end = |netns, name, address| VethEnd { netns, name, address: Some(net(address)), mtu: 1300 };
    veth_pair(&end(&left, "a", "10.2.0.1/24"), &end(&right, "b", "10.2.0.2/24")).unwrap();
    assert!(ip(&right, "-o link show b").contains("mtu 1300"));

    assert!(left.run(|| links::add_address("a", net("10.2.0.1/24"))).unwrap().unwrap_err().already_there());

    left.run(|| links::delete("a")).unwrap().unwrap();

    assert_eq!(ip(&right, "-o link show type veth"), "");
    let gone = left.run(|| links::set_up("a")).unwrap().unwrap_err();
    assert_eq!(gone.to_string(), "failed to find link a");
}
