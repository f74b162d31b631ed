//! The recorded cases that are no HTTP exchange: TLS versions, other protocols, and packets sent from the node's own host.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use rustls::version;
use serde_json::Value;

use super::peer::Peer;
use super::recording::text;
use super::wire::{Message, Underlay, client_tls};
use crate::support::{Lab, SLOW, wait_for};

/// What the agent at `to` does, in the words of [`super::outcome`].
pub(crate) fn outcome(lab: &Lab, underlay: &Underlay, to: SocketAddr, case: &str, exchange: &Value) -> String {
    match case {
        "http/alpn" => {
            let connection = underlay.connect(to, client_tls(&version::TLS13, &["h2", "http/1.1"])).unwrap();
            let protocol = connection.get_ref().conn.alpn_protocol();
            format!("ALPN {}", protocol.map_or_else(|| "null".into(), String::from_utf8_lossy))
        }
        "http/garbage_request" => {
            let mut connection = underlay.connect(to, client_tls(&version::TLS13, &[])).unwrap();
            connection.get_mut().write_all(text(&exchange["raw_request"]).as_bytes()).unwrap();
            let answer = Message::read(&mut connection, false).unwrap();
            answer.map_or_else(|| "closed".into(), |answer| answer.status().to_string())
        }
        "http/plain_http" => {
            let mut stream = underlay.dial(to).unwrap();
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            let _reset = stream.read_to_end(&mut answer);
            if answer.starts_with(b"HTTP") { "HTTP".into() } else { "no HTTP".into() }
        }
        "http/tls1_0" => old_tls(lab, to, "-tls1"),
        "http/tls1_1" => old_tls(lab, to, "-tls1_1"),
        "http/tls1_2" => handshake(underlay, to, &version::TLS12),
        "http/tls1_3" => handshake(underlay, to, &version::TLS13),
        _ => panic!("{case}: no rule for it"),
    }
}

fn handshake(underlay: &Underlay, to: SocketAddr, version: &'static rustls::SupportedProtocolVersion) -> String {
    match underlay.connect(to, client_tls(version, &[])) {
        Ok(connection) => match connection.get_ref().conn.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "handshake TLSv1.2".into(),
            Some(rustls::ProtocolVersion::TLSv1_3) => "handshake TLSv1.3".into(),
            other => format!("handshake {other:?}"),
        },
        Err(_) => "handshake refused".into(),
    }
}

/// Versions that our own library does not speak even as a client.
fn old_tls(lab: &Lab, to: SocketAddr, version: &str) -> String {
    let address = to.to_string();
    let output = lab.run(4, "openssl", &["s_client", "-connect", &address, version, "-cipher", "ALL:@SECLEVEL=0"]);
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(said.contains("CONNECTED"), "openssl did not get through: {said}");
    if said.contains("Cipher is (NONE)") { "handshake refused".into() } else { format!("handshake {said}") }
}

/// Sends one datagram from the agent's own host into its device, and counts the copies that reach the peers.
///
/// Another datagram to each peer follows; when that is there, nothing else is under way.
pub(crate) fn datagram(lab: &Lab, case: &str, to: &str, near: &Peer, far: &Peer) -> (usize, usize) {
    let socket = lab.netns(1).run(|| UdpSocket::bind("192.168.129.10:0")).unwrap().unwrap();
    socket.set_broadcast(true).unwrap();
    setsockopt(&socket, BindToDevice, &"tun1".into()).unwrap();
    socket.send_to(case.as_bytes(), (to, 9999)).unwrap();
    let last = format!("after {case}");
    let peers = [(near, "192.168.129.40"), (far, "192.168.129.100")];
    for (_, address) in &peers {
        socket.send_to(last.as_bytes(), (*address, 9999)).unwrap();
    }
    let [near, far] = peers.map(|(peer, _)| {
        let has = |packet: &Vec<u8>, payload: &str| packet[28..] == *payload.as_bytes();
        wait_for(&last, SLOW, || peer.packets().iter().any(|packet| has(packet, &last)));
        peer.packets().iter().filter(|packet| has(packet, case)).count()
    });
    (near, far)
}

/// Keeps the kernel of the agent's host from looking for IPv6 routers through the device, which would be counted.
pub(crate) fn without_ipv6(lab: &Lab, number: usize) {
    for scope in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
        let _kernel_without_ipv6 = lab.netns(number).run(|| std::fs::write(path, "1")).unwrap();
    }
}
