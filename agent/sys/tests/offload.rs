//! Devices with several queues, a header and segmentation offload, under real TCP streams. Needs root and /dev/net/tun.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod support;

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use support::{eventually, net, raw_device, settings};
use tunmesh_sys::netns::Netns;
use tunmesh_sys::tun::{self, Features, NotUsable, Offloads, Queue, Tun, TunError, TunSettings, VNET_HEADER_LEN};

const MTU: usize = 1400;
const STREAM_BYTES: usize = 4 << 20;
/// VIRTIO_NET_HDR_GSO_UDP_L4 (virtio 1.3, section 5.1.6).
const GSO_UDP_L4: u8 = 5;
const OFFLOAD: Features<'_> =
    Features { queues: 1, offload: true, max_segments: None, ipv6_addresses: &[], ipv6_routes: &[] };

#[test]
fn a_stream_crosses_two_queues_in_packets_larger_than_the_mtu() {
    let [left, right] = ends(&Features { queues: 2, ..OFFLOAD });
    assert_eq!((left.tun.queues().len(), right.tun.queues().len()), (2, 2));

    let largest = stream(&left, &right);

    assert!(largest > 4 * MTU, "largest packet read: {largest} bytes");
}

#[test]
fn without_offload_no_packet_is_larger_than_the_mtu() {
    for features in [Features::default(), Features { queues: 2, ..Features::default() }] {
        let [left, right] = ends(&features);
        assert_eq!(left.tun.offloads(), Offloads::default());

        let largest = stream(&left, &right);

        assert_eq!(largest, MTU, "{features:?}");
    }
}

#[test]
fn own_connections_have_as_many_segments_as_asked_for_unless_the_host_forwards() {
    let [left, right] = ends(&Features { max_segments: Some(4), ..OFFLOAD });
    assert!((3 * MTU..=4 * MTU).contains(&stream(&left, &right)));

    let forwarding = Netns::create().unwrap();
    let made = forwarding.run(|| {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        tun::create_with(&settings("mesh0"), &Features { max_segments: Some(4), ..OFFLOAD })
    });

    let _tun = made.unwrap().unwrap();
    assert!(!support::ip(&forwarding, "-d link show mesh0").contains("gso_max_segs 4 "));
}

#[test]
fn offload_switched_off_leaves_the_header_and_whole_packets_only() {
    let [left, right] = ends(&OFFLOAD);
    for end in [&left, &right] {
        end.tun.set_offload(false).unwrap();
    }

    let largest = stream(&left, &right);

    assert_eq!(largest, MTU);
    left.tun.set_offload(true).unwrap();
    assert!(stream(&left, &right) > 4 * MTU);
}

#[test]
fn a_kernel_of_today_offloads_udp_too() {
    let netns = Netns::create().unwrap();
    let tun = netns.run(|| tun::create_with(&settings("mesh0"), &OFFLOAD)).unwrap().unwrap();

    assert_eq!(tun.offloads(), Offloads { header: true, tcp: true, udp: true });
}

#[test]
fn a_burst_of_datagrams_is_read_as_one_packet() {
    let netns = Netns::create().unwrap();
    let tun = netns.run(|| tun::create_with(&settings("mesh0"), &OFFLOAD)).unwrap().unwrap();
    let socket = netns.run(|| UdpSocket::bind("192.168.129.10:7000")).unwrap().unwrap();
    setsockopt(&socket, sockopt::UdpGsoSegment, &1200).unwrap();

    socket.send_to(&[7; 12_000], "192.168.129.70:7000").unwrap();

    let mut frame = vec![0; VNET_HEADER_LEN + 65_535];
    assert_eq!(tun.read(&mut frame).unwrap(), VNET_HEADER_LEN + 28 + 12_000);
    assert_eq!((frame[1], &frame[4..6]), (GSO_UDP_L4, &1200_u16.to_ne_bytes()[..]));
}

#[test]
fn flows_are_spread_over_the_queues() {
    let netns = Netns::create().unwrap();
    let features = Features { queues: 2, ..Features::default() };
    let tun = netns.run(|| tun::create_with(&settings("mesh0"), &features)).unwrap().unwrap();
    let socket = netns.run(|| UdpSocket::bind("192.168.129.10:7000")).unwrap().unwrap();

    // That all 64 hash to one of two queues has a chance of 2 to the minus 63.
    for port in 7000..7064 {
        socket.send_to(b"flow", ("192.168.129.70", port)).unwrap();
    }

    let read = |queue: &Queue| std::iter::repeat_with(|| queue.read(&mut [0; 64])).take_while(Result::is_ok).count();
    let counts: Vec<usize> = tun.queues().iter().map(read).collect();
    assert!(counts.iter().sum::<usize>() == 64 && !counts.contains(&0), "{counts:?}");
}

#[test]
fn adopted_devices_of_both_kinds_carry_a_stream() {
    for (features, expected_larger) in [(OFFLOAD, true), (Features::default(), false)] {
        let ends = ends(&features).map(|End { netns, tun, address }| {
            let offloads = tun.offloads();
            let tun = netns.run(|| tun::adopt(OwnedFd::from(tun))).unwrap().unwrap();
            assert_eq!(tun.offloads(), offloads);
            End { netns, tun, address }
        });

        let largest = stream(&ends[0], &ends[1]);

        assert_eq!(largest > MTU, expected_larger, "{features:?}: {largest} bytes");
    }
}

#[test]
fn an_adopted_device_is_told_to_use_the_short_header() {
    let netns = Netns::create().unwrap();
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
    let tun = netns
        .run(|| {
            let device = raw_device("odd0", flags);
            support::set_header_len(&device, 12);
            tun::adopt(device)
        })
        .unwrap()
        .unwrap();

    assert_eq!(support::header_len(tun.as_fd()), 10);
    assert_eq!(tun.offloads(), Offloads { header: true, tcp: true, udp: true });
}

#[test]
fn a_packet_in_several_parts_arrives_as_one() {
    let netns = Netns::create().unwrap();
    let tun = netns.run(|| tun::create_with(&settings("mesh0"), &OFFLOAD)).unwrap().unwrap();
    let socket = netns.run(|| UdpSocket::bind("0.0.0.0:9000")).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let packet = support::udp([192, 168, 129, 10], 9000, b"in three parts");

    let parts = [&[0; VNET_HEADER_LEN][..], &packet[..28], &packet[28..]].map(IoSlice::new);
    let written = tun.queues()[0].write_vectored(&parts).unwrap();

    assert_eq!(written, VNET_HEADER_LEN + packet.len());
    let mut received = [0; 64];
    let (len, _) = socket.recv_from(&mut received).unwrap();
    assert_eq!(&received[..len], b"in three parts");
}

#[test]
fn further_queues_need_the_device_to_be_ours() {
    let netns = Netns::create().unwrap();
    let features = Features { queues: 2, ..Features::default() };
    let _first = netns.run(|| tun::create_with(&settings("mesh0"), &features)).unwrap().unwrap();

    let refused = netns.run(|| tun::create_with(&settings("mesh0"), &features)).unwrap();

    assert!(matches!(refused, Err(TunError::Busy { .. })), "{refused:?}");
    let tap = netns.run(|| tun::adopt(raw_device("odd0", libc::IFF_TAP | libc::IFF_VNET_HDR))).unwrap();
    assert!(matches!(tap, Err(TunError::NotUsable(NotUsable::Tap))), "{tap:?}");
}

#[test]
fn the_device_is_gone_with_the_last_queue() {
    let netns = Netns::create().unwrap();
    let features = Features { queues: 3, ..OFFLOAD };
    let tun = netns.run(|| tun::create_with(&settings("mesh0"), &features)).unwrap().unwrap();

    let last = tun.queues()[2].as_fd().try_clone_to_owned().unwrap();
    drop(tun);

    assert!(support::ip(&netns, "-o link show type tun").contains("mesh0"));
    drop(last);
    assert_eq!(support::ip(&netns, "-o link show type tun"), "");
}

struct End {
    netns: Netns,
    tun: Tun,
    address: Ipv4Addr,
}

/// Two devices of one subnet, each in a namespace of its own.
fn ends(features: &Features<'_>) -> [End; 2] {
    ["192.168.129.1/24", "192.168.129.2/24"].map(|address| {
        let netns = Netns::create().unwrap();
        let settings = TunSettings { address: net(address), ..settings("mesh0") };
        let tun = netns.run(|| tun::create_with(&settings, features)).unwrap().unwrap();
        End { netns, tun, address: settings.address.addr() }
    })
}

/// Sends a stream from left to right through both devices, checks it, and returns the length of the largest packet.
fn stream(left: &End, right: &End) -> usize {
    let sent: Vec<u8> = (0..STREAM_BYTES).map(|number| (number / 251 + number) as u8).collect();
    let listener = right.netns.run(|| TcpListener::bind((right.address, 5001))).unwrap().unwrap();
    let (over, largest) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for (from, to) in [(left, right), (right, left)] {
            for (number, queue) in from.tun.queues().iter().enumerate() {
                let to = &to.tun.queues()[number];
                let header = if from.tun.offloads().header { VNET_HEADER_LEN } else { 0 };
                let (over, largest) = (&over, &largest);
                scope.spawn(move || pass_on(queue, to, over, |len| largest.fetch_max(len - header, Ordering::Relaxed)));
            }
        }
        let received = scope.spawn(|| {
            let mut received = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
            received
        });
        let mut client = left.netns.run(|| TcpStream::connect((right.address, 5001))).unwrap().unwrap();
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let received = received.join().unwrap();
        over.store(true, Ordering::Relaxed);
        assert!(received == sent, "the stream was altered");
    });
    largest.load(Ordering::Relaxed)
}

/// Writes what is read from one queue, as it is, to another device's queue.
fn pass_on(from: &Queue, to: &Queue, over: &AtomicBool, mut seen: impl FnMut(usize) -> usize) {
    let mut frame = vec![0; VNET_HEADER_LEN + 65_535];
    while !over.load(Ordering::Relaxed) {
        poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], PollTimeout::from(10_u8)).unwrap();
        match from.read(&mut frame) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => {
                let len = read.unwrap();
                seen(len);
                eventually("the frame is taken", || match to.write(&frame[..len]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                    written => Some(written.unwrap()),
                });
            }
        }
    }
}
