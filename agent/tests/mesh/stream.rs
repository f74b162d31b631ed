//! Packets in TLS streams, where no datagram passes.

use std::net::{Ipv4Addr, TcpListener};
use std::str::FromStr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::{Method, Request, Version};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::sync::Notify;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tunmesh_protocol::{BodyDigest, NodeId, Secret, Token, UnixTime, Windows, authorize};
use tunmesh_sys::netns::Netns;

use crate::support::{Agent, Lab, SECRET, SLOW, https, overlay, wait_for};
use crate::wire::{echo_once, echoed};

#[test]
fn pings_and_a_tcp_transfer_pass_in_streams() {
    let (lab, _agents) = pair();
    for (from, to) in [(1, 2), (2, 1)] {
        wait_for("the path is a stream", SLOW, || path(&lab, from, to).as_deref() == Some("stream"));
    }

    let listener = lab.netns(2).run(|| TcpListener::bind((overlay(2), 7000))).unwrap().unwrap();
    thread::scope(|scope| {
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
fn where_something_between_takes_no_streams_packets_go_by_the_original_protocol() {
    let lab = Lab::new(2);
    let front = Front::start(&lab, 2);
    let first = start(&lab, 1, "[stream, v0]");
    let file = lab.config(2, "");
    lab.edit(&file, "https://10.77.0.2:4567", "https://10.77.0.2:4570");
    lab.edit(&file, "networking:\n", "networking:\n    data_plane: {paths: [stream, v0]}\n");
    let _second = lab.start_from(2, &file);

    first.wait_for_log(1, "way=\"stream\"");
    lab.wait_for_mesh(&[1, 2]);

    wait_for("node 1 gives up", SLOW, || path(&lab, 1, 2).as_deref() == Some("v0"));
    assert_eq!(path(&lab, 2, 1).as_deref(), Some("stream"), "nothing is in front of node 1");
    assert!(lab.pings(1, 2) && lab.pings(2, 1));
    drop(front);
}

#[test]
fn clients_of_http_1_1_get_it_with_and_without_alpn() {
    let lab = Lab::new(1);
    let _agent = start(&lab, 1, "[stream, v0]");
    wait_for("the API answers", SLOW, || lab.ask(1).is_some());

    assert_eq!(https::get(lab.netns(1), 1, "/tunmesh/control/v0/node_info").0, 200);
    let negotiated = |offered: &[&[u8]]| https::negotiated(lab.netns(1), 1, offered);
    assert_eq!(negotiated(&[]), None);
    assert_eq!(negotiated(&[b"http/1.1"]), None, "as with the original");
    assert_eq!(negotiated(&[b"h2", b"http/1.1"]), None, "as with the original");
    assert_eq!(negotiated(&[b"h2"]).unwrap(), b"h2");
}

#[test]
fn a_stream_is_opened_for_members_only() {
    let (lab, _agents) = pair();
    let [own, other] =
        [1, 2].map(|number| NodeId::from_str(lab.ask(number).unwrap()["node_id"].as_str().unwrap()).unwrap());
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

/// A proxy that ends TLS in front of a node and knows HTTP/1.1 only: port 4570 of the node.
struct Front {
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    fn start(lab: &Lab, number: usize) -> Self {
        let certificates = CertificateDer::pem_file_iter(lab.folder.join("cert.pem")).unwrap().map(Result::unwrap);
        let key = PrivateKeyDer::from_pem_file(lab.folder.join("key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates.collect(), key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = lab.netns(number).run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 4570))).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let netns = lab.netns(number).run(Netns::current).unwrap().unwrap();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(acceptor.clone(), client));
            }
        };
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve => {}
                    () = stopped.notified() => {}
                }
            });
        };
        Self { stop, thread: Some(thread::spawn(move || netns.run(run).unwrap())) }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

async fn pass(acceptor: TlsAcceptor, client: tokio::net::TcpStream) {
    let to_node = async {
        let socket = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, 4567)).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(https::config())).connect(name, socket).await
    };
    // Either end may go at any time, or not be there yet.
    if let (Ok(mut client), Ok(mut node)) = (acceptor.accept(client).await, to_node.await) {
        let _gone = tokio::io::copy_bidirectional(&mut client, &mut node).await;
    }
}

const CONNECT_IP: &str = "/.well-known/masque/ip/*/*/";
