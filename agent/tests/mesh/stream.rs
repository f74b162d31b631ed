//! Packets in TLS streams, where no datagram passes.

use std::net::TcpListener;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::{Method, Request, Version};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tunmesh_protocol::{BodyDigest, NodeId, Secret, Token, UnixTime, Windows, authorize};

use crate::support::{Agent, Lab, SECRET, SLOW, https, overlay, wait_for};
use crate::wire::{echo_once, echoed};

#[test]
fn pings_and_a_tcp_transfer_pass_in_streams() {
    let (lab, _agents) = pair();
    for (from, to) in [(1, 2), (2, 1)] {
        wait_for("the path is a stream", SLOW, || path(&lab, from, to).as_deref() == Some("stream"));
    }

    let listener = lab.netns(2).run(|| TcpListener::bind((overlay(2), 7000))).unwrap().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| echo_once(&listener));
        echoed(&lab, 1, (overlay(2), 7000), 7, 16 << 20);
    });

    assert!(lab.pings(1, 2) && lab.pings(2, 1));
    for number in [1, 2] {
        let peer = lab.peer(number, 3 - number).unwrap();
        assert!(peer["tx"]["bytes"].as_u64().unwrap() > 16 << 20, "{peer}");
        assert!(peer["rx"]["bytes"].as_u64().unwrap() > 16 << 20, "{peer}");
        for reason in ["malformed", "misrouted", "route_conflict", "exception"] {
            assert_eq!(lab.drops(number, reason), 0, "{reason}");
        }
    }
}

#[test]
fn where_no_datagram_ever_passed_packets_go_in_streams() {
    let lab = Lab::new(2);
    let rule = "add table inet test { chain out { type filter hook output priority 0; oifname eth0 meta l4proto udp drop; }; }";
    for number in [1, 2] {
        let output = lab.run(number, "nft", &[rule]);
        assert!(output.status.success(), "{output:?}");
    }

    let _agents = [1, 2].map(|number| lab.start(number, ""));
    lab.wait_for_mesh(&[1, 2]);

    for (from, to) in [(1, 2), (2, 1)] {
        wait_for("the path is a stream", SLOW, || path(&lab, from, to).as_deref() == Some("stream"));
    }
    assert!(lab.pings(1, 2));
}

#[test]
fn a_peer_that_takes_no_streams_is_reached_by_the_original_protocol() {
    let lab = Lab::new(2);
    let _agents = [start(&lab, 1, "[stream, v0]"), start(&lab, 2, "[v0]")];
    lab.wait_for_mesh(&[1, 2]);

    assert_eq!(path(&lab, 1, 2).as_deref(), Some("v0"));
    assert_eq!(https::negotiated(lab.netns(1), 2, &[b"h2"]), None, "no HTTP/2 where streams are off");
}

#[test]
fn clients_of_http_1_1_get_it_with_and_without_alpn() {
    let lab = Lab::new(1);
    let _agent = start(&lab, 1, "[stream, v0]");
    wait_for("the API answers", SLOW, || lab.ask(1).is_some());

    assert_eq!(https::get(lab.netns(1), 1, "/tunmesh/control/v0/node_info").0, 200);
    let negotiated = |offered: &[&[u8]]| https::negotiated(lab.netns(1), 1, offered);
    assert_eq!(negotiated(&[]), None);
    assert_eq!(negotiated(&[b"http/1.1"]).unwrap(), b"http/1.1");
    assert_eq!(negotiated(&[b"h2", b"http/1.1"]).unwrap(), b"http/1.1");
    assert_eq!(negotiated(&[b"h2"]).unwrap(), b"h2");
}

#[test]
fn a_stream_is_opened_for_members_only() {
    let (lab, _agents) = pair();
    let [own, other] = [1, 2].map(|number| NodeId::from_str(lab.ask(number).unwrap()["node_id"].as_str().unwrap()).unwrap());
    let stranger: NodeId = "ffffffff-0000-4000-8000-000000000000".parse().unwrap();
    let token = |secret: &str, from: &NodeId, to: &NodeId, body: &[u8]| {
        let token = Token::cluster(&Secret::from_bytes(secret.into()));
        let now = UnixTime::new(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        Some(authorize(&token, from, to, BodyDigest::of(body), &Windows::default(), now))
    };
    let cases = [
        (None, CONNECT_IP, 401),
        (token("another secret of forty characters, or so", &other, &own, b""), CONNECT_IP, 401),
        (token(SECRET, &other, &stranger, b""), CONNECT_IP, 401),
        (token(SECRET, &other, &own, b"{}"), CONNECT_IP, 401),
        (token(SECRET, &stranger, &own, b""), CONNECT_IP, 404),
        (token(SECRET, &other, &own, b""), "/tunmesh/control/v0/node_info", 404),
        (token(SECRET, &other, &own, b""), CONNECT_IP, 200),
    ];

    for (number, (authorization, path, expected)) in cases.into_iter().enumerate() {
        assert_eq!(asked(&lab, path, authorization.as_deref()), expected, "case {number}");
    }
}

/// Two nodes without datagrams that reach one another.
fn pair() -> (Lab, [Agent; 2]) {
    let lab = Lab::new(2);
    let agents = [1, 2].map(|number| start(&lab, number, "[stream, v0]"));
    lab.wait_for_mesh(&[1, 2]);
    (lab, agents)
}

fn start(lab: &Lab, number: usize, paths: &str) -> Agent {
    let file = lab.config(number, "");
    lab.edit(&file, "networking:\n", &format!("networking:\n    data_plane: {{paths: {paths}}}\n"));
    lab.start_from(number, &file)
}

fn path(lab: &Lab, number: usize, of: usize) -> Option<String> {
    lab.peer(number, of).and_then(|peer| peer["path"].as_str().map(str::to_owned))
}

/// The status with which node 1 answers a client on node 2 that asks for a stream.
fn asked(lab: &Lab, path: &str, authorization: Option<&str>) -> u16 {
    let socket = https::dial(lab.netns(2), 1);
    socket.set_nonblocking(true).unwrap();
    let mut config = https::config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(format!("https://10.77.0.1:4567{path}"))
        .extension(h2::ext::Protocol::from_static("connect-ip"));
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let conversation = async {
        let socket = tokio::net::TcpStream::from_std(socket).unwrap();
        let name = ServerName::try_from("10.77.0.1").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(tls).await.unwrap();
        let driver = tokio::spawn(connection);
        while !sender.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let (response, _sending) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        let status = response.await.unwrap().status().as_u16();
        driver.abort();
        status
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(conversation)
}

const CONNECT_IP: &str = "/.well-known/masque/ip/*/*/";
