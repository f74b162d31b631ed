//! What is carried: any protocol over IP, any size, unchanged; and what is not.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};

use aws_lc_rs::digest::{SHA256, digest};
use socket2::Socket;

use crate::support::{Agent, Lab, SLOW, overlay, wait_for};
use crate::wire::{at, echo_once, echoed, noise, raw, udp};

#[test]
fn udp_icmp_and_a_raw_protocol_pass_unchanged_at_every_size() {
    let (lab, _agents) = pair();
    let (client, server) = (udp(&lab, 1, 7000), udp(&lab, 2, 7000));
    let (sctp_client, sctp_server) = (raw(&lab, 1, SCTP), raw(&lab, 2, SCTP));
    let pinger = raw(&lab, 1, ICMP);

    for size in sizes() {
        let payload = noise(size as u64, size);

        client.send_to(&payload, (overlay(2), 7000)).unwrap();
        let mut buffer = [0; 2048];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((hash(&buffer[..len]), from.ip()), (hash(&payload), overlay(1).into()), "UDP, {size} bytes");

        sctp_client.send_to(&payload, &at(overlay(2), 0)).unwrap();
        let arrived = received(&sctp_server);
        assert_eq!(hash(&arrived[HEADER_LEN..]), hash(&payload), "protocol 132, {size} bytes");

        pinger.send_to(&echo_request(&payload), &at(overlay(2), 0)).unwrap();
        let reply = received(&pinger);
        assert_eq!(reply[HEADER_LEN], ECHO_REPLY);
        assert_eq!(hash(&reply[HEADER_LEN + 8..]), hash(&payload), "ICMP, {size} bytes");
    }
}

#[test]
fn a_tcp_stream_passes_unchanged_both_ways() {
    let (lab, _agents) = pair();
    let listener = lab.netns(2).run(|| TcpListener::bind((overlay(2), 7000))).unwrap().unwrap();

    std::thread::scope(|scope| {
        scope.spawn(|| echo_once(&listener));
        echoed(&lab, 1, (overlay(2), 7000), 1, 4 << 20);
    });
}

#[test]
fn packets_as_large_as_the_mtu_pass_and_no_larger_ones() {
    for (mtu, key) in [(1420, ""), (9000, "    mtu: 9000\n    data_plane: {paths: [v0]}\n")] {
        let lab = Lab::new(2);
        let _agents = [1, 2].map(|number| {
            let file = lab.config(number, "");
            lab.edit(&file, "networking:\n", &format!("networking:\n{key}"));
            lab.start_from(number, &file)
        });
        lab.wait_for_mesh(&[1, 2]);
        let ping = |len: usize| {
            let len = (len - HEADER_LEN - 8).to_string();
            lab.run(1, "ping", &["-n", "-M", "do", "-c", "1", "-W", "2", "-s", &len, &overlay(2).to_string()])
                .status
                .success()
        };

        assert!(ping(mtu), "{mtu}");
        assert!(!ping(mtu + 1), "{mtu}");
    }
}

#[test]
fn a_spoofed_source_is_dropped_and_counted() {
    let lab = Lab::new(3);
    let _agents = [1, 2, 3].map(|number| lab.start(number, ""));
    lab.wait_for_mesh(&[1, 2, 3]);
    let receiver = raw(&lab, 2, UNASSIGNED);
    let sender = raw(&lab, 1, UNASSIGNED);
    sender.set_header_included_v4(true).unwrap();
    let send = |source: Ipv4Addr| sender.send_to(&packet(source, overlay(2)), &at(overlay(2), 0)).unwrap();
    let cases = [(overlay(3), "route_conflict"), (Ipv4Addr::new(10, 9, 8, 7), "no_return_route")];

    for (source, reason) in cases {
        send(source);
        wait_for(reason, SLOW, || lab.drops(1, reason) == 1);
    }

    // An honest one, sent last, is the first that arrives.
    send(overlay(1));
    assert_eq!(received(&receiver)[12..16], overlay(1).octets());
    for reason in ["route_conflict", "no_return_route"] {
        assert_eq!(lab.drops(2, reason), 0, "{reason}");
    }
}

#[test]
fn packets_to_nobody_are_dropped_and_counted() {
    let (lab, _agents) = pair();
    let sender = udp(&lab, 1, 7000);
    let cases = [(Ipv4Addr::new(192, 168, 129, 99), "no_route"), (Ipv4Addr::new(224, 1, 1, 1), "unsupported")];
    nix::sys::socket::setsockopt(&sender, nix::sys::socket::sockopt::BindToDevice, &"tun1".into()).unwrap();

    for (to, reason) in cases {
        let before = lab.drops(1, reason);
        sender.send_to(b"x", (to, 7000)).unwrap();
        wait_for(reason, SLOW, || lab.drops(1, reason) == before + 1);
    }
}

fn pair() -> (Lab, [Agent; 2]) {
    let lab = Lab::new(2);
    let agents = [1, 2].map(|number| lab.start(number, ""));
    lab.wait_for_mesh(&[1, 2]);
    (lab, agents)
}

/// Payloads of 1 to 1472 bytes: every length around the ends and the line length of the original's base64, some between.
fn sizes() -> impl Iterator<Item = usize> {
    (1..=70).chain((71..1440).step_by(37)).chain(1440..=1472)
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// The next packet of a raw socket, IP header included.
fn received(socket: &Socket) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    let len = (&*socket).read(&mut buffer).unwrap();
    buffer.truncate(len);
    buffer
}

fn echo_request(payload: &[u8]) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    message.extend(payload);
    let checksum = tunmesh_packet::checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// An IP packet of an unassigned protocol; the kernel fills in length, id and checksum.
fn packet(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, UNASSIGNED as u8, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(b"payload");
    packet
}

const ICMP: i32 = 1;
const SCTP: i32 = 132;
const UNASSIGNED: i32 = 200;
const ECHO_REPLY: u8 = 0;

/// Length of an IP header without options.
const HEADER_LEN: usize = 20;
