//! Insiders that do not keep to the rules: they know the cluster secret and say what they like.

use std::io::{BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use ipnet::IpNet;
use nix::sys::socket::{Shutdown, shutdown};
use rcgen::{KeyPair, SigningKey};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tunmesh_membership::{
    Capabilities, Identity, KeyRing, Membership, Now, Record, RecordDraft, RefusedRecord, Settings, Signed, Signer,
};
use tunmesh_protocol::{
    BodyDigest, Member, NodeId, NodeInfo, Registration, Secret, SessionKey, Token, UnixTime, Windows, authorize,
};

use crate::http::{Message, Underlay, server_tls};
use crate::support::{Lab, SECRET};

/// A node of the original protocol at `https://10.77.0.number:4567` that claims what the test wants.
pub(crate) struct Impostor {
    story: Arc<Mutex<Story>>,
    underlay: Arc<Underlay>,
    listener: TcpListener,
}

/// What an impostor says of itself.
struct Story {
    info: NodeInfo,
    member: Member,
    secret: String,
    /// First lines of the requests so far.
    asked: Vec<String>,
}

impl Impostor {
    /// Shows the certificate `name`.pem; `cert` goes with the key of the recorded set-up.
    pub(crate) fn start(lab: &Lab, number: usize, name: &str) -> Self {
        let key = if name == "cert" { "key.pem".into() } else { format!("{name}.key") };
        let tls = server_tls(&lab.folder.join(format!("{name}.pem")), &lab.folder.join(key));
        let id = NodeId::from_random([77; 16]);
        let url = format!("https://10.77.0.{number}:4567").parse().unwrap();
        let member = Member {
            id: id.clone(),
            listen_url: url,
            network: "192.168.129.0/24".parse().unwrap(),
            address: format!("{}/26", crate::support::overlay(number)).parse().unwrap(),
        };
        let info = NodeInfo { id, listen_url: member.listen_url.clone(), implementation: None };
        let story = Arc::new(Mutex::new(Story { info, member, secret: SECRET.into(), asked: Vec::new() }));
        let underlay = Underlay::of(lab.netns(number));
        let listener = underlay.listen(4567);
        let (telling, accepting) = (Arc::clone(&story), listener.try_clone().unwrap());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let (story, tls) = (Arc::clone(&telling), Arc::clone(&tls));
                std::thread::spawn(move || converse(&story, tls, stream));
            }
        });
        Self { story, underlay, listener }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.story.lock().unwrap().member.id.clone()
    }

    /// What it says of itself now.
    pub(crate) fn info(&self) -> NodeInfo {
        self.story.lock().unwrap().info.clone()
    }

    /// Answers `node_info` so from now on, and calls itself the same in registrations.
    pub(crate) fn say(&self, info: NodeInfo) {
        let mut story = self.story.lock().unwrap();
        story.member.id = info.id.clone();
        story.info = info;
    }

    /// First lines of the requests that came.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.story.lock().unwrap().asked.clone()
    }

    /// Claims this address from now on.
    pub(crate) fn claim(&self, address: Ipv4Addr) {
        self.story.lock().unwrap().member.address = format!("{address}/26").parse().unwrap();
    }

    /// Names this URL as its own in registrations, whatever `node_info` says.
    pub(crate) fn name_in_answers(&self, url: &str) {
        self.story.lock().unwrap().member.listen_url = url.parse().unwrap();
    }

    /// Signs with another secret from now on.
    pub(crate) fn forget_the_secret(&self) {
        self.story.lock().unwrap().secret = "nobody told it the secret of the mesh, so it guesses".into();
    }

    /// Registers at node `number`, and returns the status of the answer.
    pub(crate) fn register(&self, number: usize, audience: &NodeId) -> u16 {
        let body = self.story.lock().unwrap().registration();
        let header = self.header(&self.id(), audience, &body, &Windows::default());
        self.post(number, "/tunmesh/control/v0/registrations/register", &header, &body)
    }

    /// Asks node `number` for a session in the name of any member.
    pub(crate) fn open_session(&self, number: usize, audience: &NodeId, issuer: &NodeId) -> u16 {
        let body = SessionKey::generate(2048).unwrap().request_json().to_vec();
        let header = self.header(issuer, audience, &body, &Windows::default());
        self.post(number, "/tunmesh/auth/v0/init_session", &header, &body)
    }

    /// The body of a registration.
    pub(crate) fn registration(&self) -> Vec<u8> {
        self.story.lock().unwrap().registration()
    }

    /// An `Authorization` header by the cluster secret.
    pub(crate) fn header(&self, issuer: &NodeId, audience: &NodeId, body: &[u8], windows: &Windows) -> String {
        let token = self.story.lock().unwrap().token();
        authorize(&token, issuer, audience, BodyDigest::of(body), windows, unix())
    }

    /// Posts to node `number`, and returns the status of the answer.
    pub(crate) fn post(&self, number: usize, path: &str, authorization: &str, body: &[u8]) -> u16 {
        let to = SocketAddr::new(Ipv4Addr::new(10, 77, 0, u8::try_from(number).unwrap()).into(), 4567);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\n\
             Authorization: {authorization}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.underlay.ask(to, &[head.as_bytes(), body].concat()).unwrap().status()
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        // Wakes the thread that waits in accept, which owns a second descriptor of the same socket.
        let _closed = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
    }
}

impl Story {
    fn registration(&self) -> Vec<u8> {
        let stamp = i64::try_from(unix().as_secs()).unwrap();
        Registration { local: self.member.clone(), remote: Vec::new(), stamp, skipped_remotes: 0, further: None }
            .to_json()
    }

    fn token(&self) -> Token {
        Token::cluster(&Secret::from_bytes(self.secret.clone().into_bytes()))
    }

    /// Answers the registration of whoever signed the request, and tells who listens here.
    fn answer(&mut self, request: &Message) -> Vec<u8> {
        self.asked.push(request.start.clone());
        let (body, authorization) = if request.start.contains("/node_info") {
            (self.info.to_json(), String::new())
        } else if request.start.contains("/registrations/register") {
            let registrant = Registration::parse(&request.body).unwrap().local.id;
            let body = self.registration();
            let digest = BodyDigest::of(&body);
            let header = authorize(&self.token(), &self.member.id, &registrant, digest, &Windows::default(), unix());
            (body, format!("Authorization: {header}\r\n"))
        } else {
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec();
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{authorization}Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body].concat()
    }
}

fn converse(story: &Mutex<Story>, tls: Arc<ServerConfig>, stream: TcpStream) {
    let tls = ServerConnection::new(tls).unwrap();
    let mut connection = BufReader::new(StreamOwned::new(tls, stream));
    while let Ok(Some(request)) = Message::read(&mut connection, false) {
        let answer = story.lock().unwrap().answer(&request);
        if connection.get_mut().write_all(&answer).is_err() {
            return;
        }
    }
}

/// A member of the gossip that signs any record with the key of one certificate.
pub(crate) struct Gossiper {
    membership: Membership,
    socket: UdpSocket,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

struct AnyRecord {
    certificate: Vec<u8>,
    key: Arc<KeyPair>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Gossiper {
    /// In the namespace of node `number`, with a certificate and its ECDSA key.
    pub(crate) fn new(
        lab: &Lab,
        number: usize,
        id: NodeId,
        addresses: &[Ipv4Addr],
        (certificate, key): (Vec<u8>, Arc<KeyPair>),
    ) -> Self {
        let socket = lab.netns(number).run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let draft = RecordDraft {
            id,
            url: format!("https://10.77.0.{number}:4567").parse().unwrap(),
            endpoints: Vec::new(),
            public_key: [7; 32],
            addresses: addresses.iter().map(|address| IpNet::from(std::net::IpAddr::V4(*address))).collect(),
            groups: Vec::new(),
            capabilities: Capabilities::default(),
            version: String::new(),
        };
        let seen = Arc::default();
        let keys = KeyRing::new(&Secret::from_bytes(SECRET.into()), &[]);
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).unwrap();
        let identity = Box::new(AnyRecord { certificate, key, seen: Arc::clone(&seen) });
        let membership = Membership::new(Settings::new(draft), keys, identity, seed, now()).unwrap();
        Self { membership, socket, seen }
    }

    /// Tells node `number` what it claims, and takes and sends what there is.
    pub(crate) fn turn(&mut self, number: usize) {
        if self.membership.is_empty() {
            let address = Ipv4Addr::new(10, 77, 0, u8::try_from(number).unwrap());
            self.membership.join(now(), (address, 4567).into());
        }
        let mut buffer = [0; 2048];
        match self.socket.recv_from(&mut buffer) {
            Ok((len, from)) => {
                let _refused = self.membership.handle_datagram(now(), from, &buffer[..len]);
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused), "{error}")
            }
        }
        self.membership.handle_timeout(now());
        while let Some((to, datagram)) = self.membership.poll_transmit() {
            let _refused = self.socket.send_to(&datagram, to);
        }
        while self.membership.poll_event().is_some() {}
    }

    /// The certificates that signed the records it was shown, in their order.
    pub(crate) fn seen(&self) -> Arc<Mutex<Vec<Vec<u8>>>> {
        Arc::clone(&self.seen)
    }
}

impl Identity for AnyRecord {
    fn sign(&self, message: &[u8]) -> Signed {
        // The number of ecdsa_secp256r1_sha256.
        let signature = [&[4, 3], &self.key.sign(message).unwrap()[..]].concat();
        Signed { signer: Signer::Certificate(self.certificate.clone()), signature }
    }

    #[expect(clippy::unwrap_in_result, reason = "the lock is the test's own")]
    fn verify(&self, _: &Record, signer: &Signer, _: &[u8], _: &[u8]) -> Result<(), RefusedRecord> {
        if let Signer::Certificate(certificate) = signer {
            self.seen.lock().unwrap().push(certificate.clone());
        }
        Ok(())
    }
}

/// An id that a node with this address may have.
pub(crate) fn id_for(address: Ipv4Addr) -> NodeId {
    let half = [7, 7, 7, 7, 7, 7, 0x47, 7];
    let hash = digest(&SHA256, &[b"tunmesh node id\0", &half[..], format!("{address}/32").as_bytes()].concat());
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&half);
    bytes[8..].copy_from_slice(&hash.as_ref()[..8]);
    NodeId::from_random(bytes)
}

fn now() -> Now {
    Now { instant: Instant::now(), unix: unix() }
}

fn unix() -> UnixTime {
    UnixTime::new(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())
}
