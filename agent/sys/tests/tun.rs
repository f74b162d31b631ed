//! TUN devices in scratch namespaces, seen by `ip` and by the kernel's own ICMP.
//!
//! Needs root and /dev/net/tun.

mod support;

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use support::{ip, net, settings};
use tunmesh_sys::links;
use tunmesh_sys::netns::Netns;
use tunmesh_sys::tun::{self, NotUsable, TunError, TunSettings};

#[test]
fn a_device_has_its_addresses_and_routes_and_vanishes_with_its_descriptor() {
    let netns = Netns::create().unwrap();
    let extra = [net("10.9.0.1/32")];
    let routes = [net("10.20.0.0/16"), net("192.168.129.0/24")];
    let settings = TunSettings { extra_addresses: &extra, routes: &routes, ..settings("mesh0") };

    let tun = netns.run(|| tun::create(&settings)).unwrap().unwrap();

    assert_eq!((tun.name(), tun.mtu()), ("mesh0", 1400));
    let link = ip(&netns, "-o link show mesh0");
    assert!(link.contains("mtu 1400") && link.contains("qlen 300") && link.contains(",UP,"), "{link}");
    let addresses = ip(&netns, "-o address show mesh0");
    assert!(addresses.contains("192.168.129.10/26 brd 192.168.129.63 scope global mesh0"), "{addresses}");
    assert!(addresses.contains("10.9.0.1/32 scope global mesh0"), "{addresses}");
    assert!(!addresses.contains("inet6"), "{addresses}");
    let routes = ip(&netns, "route show table all");
    for expected in [
        "192.168.129.0/26 dev mesh0 proto kernel scope link src 192.168.129.10",
        "192.168.129.0/24 dev mesh0 proto static scope link src 192.168.129.10",
        "10.20.0.0/16 dev mesh0 proto static scope link src 192.168.129.10",
        "broadcast 192.168.129.63 dev mesh0 table local",
        "broadcast 192.168.129.255 dev mesh0 table local",
    ] {
        assert!(routes.contains(expected), "no {expected} in\n{routes}");
    }

    drop(tun);

    assert_eq!(ip(&netns, "-o link show type tun"), "");
    assert!(!ip(&netns, "route show table all").contains("mesh0"));
}

#[test]
fn a_network_as_large_as_the_subnet_needs_no_route_of_its_own() {
    let netns = Netns::create().unwrap();
    let settings = TunSettings { address: net("192.168.129.10/24"), ..settings("mesh0") };

    let tun = netns.run(|| tun::create(&settings)).unwrap();

    assert!(tun.is_ok(), "{tun:?}");
}

#[test]
fn an_extra_address_may_be_the_nodes_own_or_share_the_mesh_broadcast_address() {
    let netns = Netns::create().unwrap();
    let extra = [net("192.168.129.10/26"), net("192.168.129.200/26")];
    let settings = TunSettings { extra_addresses: &extra, ..settings("mesh0") };

    let tun = netns.run(|| tun::create(&settings)).unwrap();

    assert!(tun.is_ok(), "{tun:?}");
    let routes = ip(&netns, "route show table local");
    assert_eq!(routes.matches("broadcast 192.168.129.255").count(), 1, "{routes}");
}

#[test]
fn a_device_that_exists_is_left_alone() {
    let netns = Netns::create().unwrap();
    netns.run(|| links::bridge("mesh0")).unwrap().unwrap();

    let refused = netns.run(|| tun::create(&settings("mesh0"))).unwrap();

    assert!(matches!(refused, Err(TunError::Busy { .. })), "{refused:?}");
    let first = netns.run(|| tun::create(&settings("mesh1"))).unwrap().unwrap();
    let network = TunSettings { address: net("10.0.0.1/32"), network: net("10.0.0.0/24"), ..settings("mesh1") };
    let refused = netns.run(|| tun::create(&network)).unwrap();
    assert!(matches!(refused, Err(TunError::Busy { .. })), "{refused:?}");
    drop(first);
}

#[test]
fn a_network_routed_elsewhere_is_refused_and_nothing_stays() {
    let netns = Netns::create().unwrap();
    netns.run(|| links::bridge("br0")).unwrap().unwrap();
    ip(&netns, "route add 192.168.129.0/24 dev br0");

    let refused = netns.run(|| tun::create(&settings("mesh0"))).unwrap();

    assert!(
        matches!(refused, Err(TunError::RouteTaken { destination }) if destination == net("192.168.129.0/24").into())
    );
    assert_eq!(ip(&netns, "-o link show type tun"), "");
}

#[test]
fn the_kernel_answers_a_ping_written_to_the_device_and_is_otherwise_silent() {
    let netns = Netns::create().unwrap();
    let tun = netns.run(|| tun::create(&settings("mesh0"))).unwrap().unwrap();
    assert_eq!(tun.read(&mut [0; 2048]).unwrap_err().kind(), io::ErrorKind::WouldBlock);

    let reply = support::ping(&tun);

    assert_eq!(&reply[12..20], &[192, 168, 129, 10, 192, 168, 129, 70]);
    assert_eq!(reply[20], 0, "ICMP type of an echo reply");
    assert_eq!(&reply[28..], b"tunmesh!");
}

#[test]
fn broadcasts_of_the_subnet_and_of_the_mesh_are_delivered() {
    let netns = Netns::create().unwrap();
    let tun = netns.run(|| tun::create(&settings("mesh0"))).unwrap().unwrap();
    let socket = netns.run(|| UdpSocket::bind("0.0.0.0:9000")).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();

    for last in [63, 255, 10] {
        tun.write(&support::udp([192, 168, 129, last], 9000, &[last])).unwrap();

        let mut received = [0; 16];
        let (len, from) = socket.recv_from(&mut received).unwrap();
        assert_eq!((&received[..len], from.to_string()), (&[last][..], "192.168.129.70:1234".to_owned()));
    }
}

#[test]
fn a_bad_mtu_and_a_bad_name_are_told_apart() {
    let netns = Netns::create().unwrap();

    let mtu = netns.run(|| tun::create(&TunSettings { mtu: 70_000, ..settings("mesh0") })).unwrap();
    let name = netns.run(|| tun::create(&settings("no%d"))).unwrap();

    assert!(matches!(mtu, Err(TunError::Configure(_))), "{mtu:?}");
    assert!(matches!(name, Err(TunError::InvalidName { .. })), "{name:?}");
    assert_eq!(ip(&netns, "-o link show type tun"), "");
}

#[test]
fn a_device_handed_over_by_its_descriptor_keeps_its_name_and_mtu() {
    let netns = Netns::create().unwrap();
    let made = netns.run(|| tun::create(&settings("mesh0"))).unwrap().unwrap();

    let adopted = netns.run(|| tun::adopt(OwnedFd::from(made))).unwrap().unwrap();

    assert_eq!((adopted.name(), adopted.mtu()), ("mesh0", 1400));
    assert_eq!(support::ping(&adopted)[20], 0);
}

#[test]
fn descriptors_of_another_kind_are_refused() {
    let netns = Netns::create().unwrap();
    let cases = [(libc::IFF_TAP | libc::IFF_NO_PI, NotUsable::Tap), (libc::IFF_TUN, NotUsable::PacketInformation)];
    for (flags, expected) in cases {
        let refused = netns.run(|| tun::adopt(support::raw_device("odd0", flags))).unwrap();
        assert!(matches!(refused, Err(TunError::NotUsable(reason)) if reason == expected), "{expected:?}: {refused:?}");
    }
    let others = [("/dev/net/tun", NotUsable::Detached), ("/dev/null", NotUsable::OtherFile)];
    for (path, expected) in others {
        let refused = tun::adopt(std::fs::File::open(path).unwrap().into());
        assert!(matches!(refused, Err(TunError::NotUsable(reason)) if reason == expected), "{path}: {refused:?}");
    }
}

#[test]
fn only_the_owner_attaches_to_a_device() {
    let netns = Netns::create().unwrap();
    let tun = netns.run(|| tun::create(&settings("mesh0"))).unwrap().unwrap();

    let details = ip(&netns, "-d link show mesh0");

    assert!(details.contains("user root") && details.contains("persist off"), "{details}");
    assert!(tun.as_fd().try_clone_to_owned().is_ok());
}
