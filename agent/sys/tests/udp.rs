//! UDP sockets in scratch namespaces. Needs root.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod support;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use support::as_user;
use tunmesh_sys::netns::Netns;
use tunmesh_sys::path_mtu;
use tunmesh_sys::udp::{self, Settings};

const SETTINGS: Settings = Settings { reuse_port: true, receive_buffer: 8 << 20, send_buffer: 8 << 20 };

#[test]
fn a_socket_of_every_address_receives_both_families() {
    let netns = Netns::create().unwrap();
    let socket = netns.run(|| udp::socket(any("[::]:0"), SETTINGS)).unwrap().unwrap();
    let port = socket.local_addr().unwrap().port();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);

    for (from, seen) in [("127.0.0.1:0", "::ffff:127.0.0.1"), ("[::1]:0", "::1")] {
        let from = netns.run(|| udp::socket(any(from), SETTINGS)).unwrap().unwrap();
        from.send_to(b"hello", (from.local_addr().unwrap().ip(), port)).unwrap();

        poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(5000_u16)).unwrap();
        let (len, sender) = socket.recv_from(&mut [0; 8]).unwrap();
        assert_eq!((len, sender.ip().to_string()), (5, seen.to_owned()));
    }
}

#[test]
fn the_path_mtu_is_that_of_the_route_for_both_families() {
    let netns = Netns::create().unwrap();
    support::ip(&netns, "-4 route add 192.0.2.0/24 dev lo mtu 1400");
    support::ip(&netns, "-6 route add 2001:db8::/64 dev lo mtu 1300");

    for (from, to, mtu) in [("0.0.0.0:0", "192.0.2.1:9", 1400), ("[::]:0", "[2001:db8::1]:9", 1300)] {
        let socket = netns.run(|| std::net::UdpSocket::bind(from)).unwrap().unwrap();
        assert_eq!(path_mtu(&socket).unwrap_err().kind(), io::ErrorKind::NotConnected);
        socket.connect(to).unwrap();
        assert_eq!(path_mtu(&socket).unwrap(), mtu, "{to}");
    }
}

#[test]
fn one_ipv6_address_leaves_the_ipv4_port_to_others() {
    let netns = Netns::create().unwrap();
    let alone = Settings { reuse_port: false, ..SETTINGS };
    let ipv6 = netns.run(|| udp::socket(any("[::1]:7000"), alone)).unwrap().unwrap();

    let ipv4 = netns.run(|| udp::socket(any("127.0.0.1:7000"), alone)).unwrap();

    assert!(getsockopt(&ipv6, sockopt::Ipv6V6Only).unwrap());
    assert!(ipv4.is_ok(), "{ipv4:?}");
}

#[test]
fn a_port_is_shared_only_by_sockets_that_agreed() {
    let netns = Netns::create().unwrap();
    let open = |settings| netns.run(|| udp::socket(any("[::]:7000"), settings)).unwrap();
    let _first = open(SETTINGS).unwrap();

    let second = open(SETTINGS);
    let third = open(Settings { reuse_port: false, ..SETTINGS });

    assert!(second.is_ok(), "{second:?}");
    assert_eq!(third.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn buffers_exceed_the_hosts_limit_where_permitted_and_reach_it_elsewhere() {
    let netns = Netns::create().unwrap();
    let limit = |name| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/core/{name}")).unwrap();
        text.trim().parse::<usize>().unwrap()
    };
    let limits = [limit("rmem_max"), limit("wmem_max")];
    let wanted = 2 * limits[0].max(limits[1]);
    let settings = Settings { receive_buffer: wanted, send_buffer: wanted, ..SETTINGS };
    let open = || udp::socket(any("127.0.0.1:0"), settings).unwrap();
    // The kernel doubles what is asked for, for its own bookkeeping.
    let sizes =
        |socket| [getsockopt(socket, sockopt::RcvBuf).unwrap() / 2, getsockopt(socket, sockopt::SndBuf).unwrap() / 2];

    let permitted = netns.run(open).unwrap();
    let other = netns.run(|| as_user(65532, open)).unwrap();

    assert_eq!(sizes(&permitted), [wanted; 2]);
    assert_eq!(sizes(&other), limits);
}

fn any(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
