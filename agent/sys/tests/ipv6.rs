//! IPv6 on a device, seen by `ip` and by the kernel's own ICMP. Needs root and /dev/net/tun.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod support;

use std::io;
use std::net::{Ipv6Addr, UdpSocket};

use ipnet::Ipv6Net;
use support::{ip, settings};
use tunmesh_sys::netns::Netns;
use tunmesh_sys::tun::{self, Features, TunError, TunSettings};

#[test]
fn a_device_has_its_ipv6_address_and_routes_which_go_with_it() {
    let netns = Netns::create().unwrap();
    let addresses = [net("fd00:7::a/64"), net("fd00:9::1/128")];
    let routes = [net("fd00:7::/64"), net("fd00:8::1/48")];
    let features = Features { ipv6_addresses: &addresses, ipv6_routes: &routes, ..Features::default() };

    let tun = netns.run(|| tun::create_with(&settings("mesh0"), &features)).unwrap().unwrap();

    assert!(!tun.ipv6_skipped());
    let shown = ip(&netns, "-6 -o address show mesh0");
    assert!(shown.contains("fd00:7::a/64 scope global") && shown.contains("fd00:9::1/128"), "{shown}");
    assert!(!shown.contains("fe80") && !shown.contains("tentative"), "{shown}");
    let shown = ip(&netns, "-6 route show dev mesh0");
    assert!(shown.contains("fd00:7::/64 ") && shown.contains("fd00:8::/48 proto static src fd00:7::a"), "{shown}");
    let shown = ip(&netns, "-4 -o address show mesh0");
    assert!(shown.contains("192.168.129.10/26"), "{shown}");
    drop(tun);
    assert_eq!(ip(&netns, "-6 address show") + &ip(&netns, "-6 route show"), only_loopback());
}

#[test]
fn a_packet_to_the_ipv6_network_is_the_first_thing_read() {
    let netns = Netns::create().unwrap();
    let addresses = [net("fd00:7::a/64")];
    let features = Features { ipv6_addresses: &addresses, ..Features::default() };
    let tun = netns.run(|| tun::create_with(&settings("mesh0"), &features)).unwrap().unwrap();
    assert_eq!(tun.read(&mut [0; 2048]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let neighbour: Ipv6Addr = "fd00:7::b".parse().unwrap();

    let sent =
        netns.run(|| UdpSocket::bind("[fd00:7::a]:7000").and_then(|from| from.send_to(b"there", (neighbour, 7))));

    assert_eq!(sent.unwrap().unwrap(), 5);
    let mut packet = [0; 2048];
    assert_eq!(tun.read(&mut packet).unwrap(), 40 + 8 + 5);
    assert_eq!((packet[0] >> 4, &packet[24..40]), (6, &neighbour.octets()[..]));
}

#[test]
fn where_ipv6_is_off_the_device_works_without() {
    let netns = Netns::create().unwrap();
    let switch = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
    netns.run(|| std::fs::write(switch, "1")).unwrap().unwrap();
    let addresses = [net("fd00:7::a/64")];
    let features = Features { ipv6_addresses: &addresses, ..Features::default() };

    let tun = netns.run(|| tun::create_with(&settings("mesh0"), &features)).unwrap().unwrap();

    assert!(tun.ipv6_skipped());
    assert_eq!(support::ping(&tun)[20], 0);
}

#[test]
fn an_mtu_too_small_for_ipv6_leaves_it_out() {
    let netns = Netns::create().unwrap();
    let addresses = [net("fd00:7::a/64")];
    let features = Features { ipv6_addresses: &addresses, ..Features::default() };
    for (mtu, skipped) in [(1279, true), (1280, false)] {
        let settings = TunSettings { mtu, ..settings("mesh0") };

        let tun = netns.run(|| tun::create_with(&settings, &features)).unwrap().unwrap();

        assert_eq!(tun.ipv6_skipped(), skipped, "MTU {mtu}");
    }
}

#[test]
fn an_ipv6_network_routed_into_a_device_twice_is_refused() {
    let netns = Netns::create().unwrap();
    let (addresses, routes) = ([net("fd00:7::a/64")], [net("fd00:8::/48")]);
    let features = Features { ipv6_addresses: &addresses, ipv6_routes: &routes, ..Features::default() };
    let _first = netns.run(|| tun::create_with(&settings("mesh0"), &features)).unwrap().unwrap();
    let second =
        TunSettings { address: support::net("10.0.0.1/32"), network: support::net("10.0.0.0/24"), ..settings("mesh1") };
    let addresses = [net("fd00:9::a/64")];

    let features = Features { ipv6_addresses: &addresses, ..features };
    let refused = netns.run(|| tun::create_with(&second, &features)).unwrap();

    assert!(matches!(refused, Err(TunError::RouteTaken { destination }) if destination == routes[0].into()));
}

fn net(text: &str) -> Ipv6Net {
    text.parse().unwrap()
}

/// What an untouched namespace shows.
fn only_loopback() -> String {
    let fresh = Netns::create().unwrap();
    ip(&fresh, "-6 address show") + &ip(&fresh, "-6 route show")
}
