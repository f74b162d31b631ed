//! A node as the original is one, as far as a peer needs it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use serde_json::{Value, json};
use tunmesh_protocol::{Decoder, answer_session};

use super::jwt::{Jwt, sha256_hex};
use super::recording::text;
use super::session::{PeerKey, Session};
use super::unix_now;
use super::wire::{Message, Underlay};

/// Answers as a node should, and keeps its sessions.
pub(super) struct Node {
    pub(super) common: Common,
    /// The member as it registers.
    local: Value,
    /// The session to sign with towards the agent.
    given: Mutex<Option<Session>>,
    /// Sessions the agent signs with; the newest counts.
    made: Mutex<Vec<Session>>,
}

/// What all peers of a run have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) agent: SocketAddr,
    pub(crate) cluster: Vec<u8>,
    pub(crate) key: Arc<PeerKey>,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) underlay: Arc<Underlay>,
}

/// A request that came in.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) kind: Kind,
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
    /// Who signed it, whether or not the signature holds.
    pub(crate) issuer: String,
    /// Whether it is signed with the right secret, for this peer and this body. Nothing is signed for `node_info`.
    pub(crate) valid: bool,
}

impl Arrival {
    /// The IP packets in it.
    pub(crate) fn packets(&self) -> Vec<Vec<u8>> {
        let (mut packets, mut decoder) = (Vec::new(), Decoder::new());
        match self.kind {
            Kind::Packet => packets.push(decoder.decode_single(&self.body).unwrap().data.to_vec()),
            Kind::Batch => {
                decoder.decode_batch(&self.body, |packet| packets.push(packet.unwrap().data.to_vec())).unwrap();
            }
            Kind::InitSession | Kind::NodeInfo | Kind::Other => {}
            Kind::Register | Kind::Reregister | Kind::RotateSession => {}
        }
        packets
    }
}

/// The routes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Batch,
    InitSession,
    NodeInfo,
    Other,
    Packet,
    Register,
    Reregister,
    RotateSession,
}

impl Kind {
    /// Of a request target in either form, or of a text that ends with one.
    pub(crate) fn of(target: &str) -> Self {
        let path = target.find("/tunmesh/").map_or("", |start| &target[start..]);
        match path.strip_prefix("/tunmesh/").unwrap_or_default() {
            "control/v0/node_info" => Self::NodeInfo,
            "control/v0/registrations/register" => Self::Register,
            "auth/v0/init_session" => Self::InitSession,
            rest if rest.starts_with("control/v0/registrations/register/") => Self::Reregister,
            rest if rest.starts_with("auth/v0/init_session/") => Self::RotateSession,
            rest if rest.starts_with("control/v0/packet/rx/") && rest.ends_with("/batch") => Self::Batch,
            rest if rest.starts_with("control/v0/packet/rx/") => Self::Packet,
            _ => Self::Other,
        }
    }
}

impl Node {
    pub(super) fn new(common: &Common, local: Value) -> Self {
        Self { common: common.clone(), local, given: Mutex::default(), made: Mutex::default() }
    }

    pub(super) fn id(&self) -> String {
        text(&self.local["id"])
    }

    /// Uses a session that was agreed on elsewhere.
    pub(super) fn adopt(&self, session: Session) {
        *self.given.lock().unwrap() = Some(session);
    }

    /// The session that the agent signs with.
    pub(super) fn newest(&self) -> Option<Session> {
        self.made.lock().unwrap().last().cloned()
    }

    /// Says what a request is, and whether it is signed as it must.
    pub(super) fn judge(&self, request: &Message) -> Arrival {
        let target = request.start.split(' ').nth(1).unwrap_or_default().to_owned();
        let kind = Kind::of(&target);
        let jwt = request.header("authorization").and_then(Jwt::of_header);
        let secret = match kind {
            Kind::InitSession | Kind::NodeInfo | Kind::Other | Kind::Register => Some(self.common.cluster.clone()),
            Kind::Batch | Kind::Packet | Kind::Reregister | Kind::RotateSession => {
                self.newest().map(|session| session.secret)
            }
        };
        let valid = jwt.as_ref().is_some_and(|jwt| {
            jwt.claim("aud") == self.local["id"]
                && jwt.claim("sig") == format!("0/{}", sha256_hex(&request.body))
                && secret.is_some_and(|secret| jwt.is_signed_with(&secret))
        });
        let issuer = jwt.map(|jwt| text(&jwt.claim("iss"))).unwrap_or_default();
        Arrival { kind, target, body: request.body.clone(), issuer, valid }
    }

    /// What a node of the original answers.
    pub(super) fn answer(&self, arrival: &Arrival) -> Vec<u8> {
        let to = &arrival.issuer;
        if !arrival.valid && arrival.kind != Kind::NodeInfo {
            return answer("401 Unauthorized", "content-type: text/plain;charset=utf-8\r\n", b"Unauthorized");
        }
        match arrival.kind {
            Kind::Batch | Kind::Packet => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            Kind::InitSession => self.signed(&self.cluster(), to, &self.make_session(&arrival.body)),
            Kind::NodeInfo => {
                let info = json!({"id": self.local["id"], "listen_url": self.local["listen_url"]});
                answer("200 OK", JSON, info.to_string().as_bytes())
            }
            Kind::Other => answer("404 Not Found", "content-type: text/html;charset=utf-8\r\n", b"Not Found"),
            Kind::Register => self.signed(&self.cluster(), to, &self.registration()),
            Kind::Reregister => self.signed(&self.session(to), to, &self.registration()),
            Kind::RotateSession => {
                let session = self.session(to);
                self.signed(&session, to, &self.make_session(&arrival.body))
            }
        }
    }

    fn make_session(&self, request: &[u8]) -> Vec<u8> {
        let mut secret = [0; 64];
        aws_lc_rs::rand::fill(&mut secret).unwrap();
        let mut made = self.made.lock().unwrap();
        let id = format!("{}-{}", self.id(), made.len());
        let (body, _) = answer_session(request, &id, &secret).unwrap();
        made.push(Session { id, secret: secret.to_vec() });
        body
    }

    /// The session the agent gave us; asked for, if there is none.
    pub(super) fn session(&self, agent_id: &str) -> Session {
        let mut given = self.given.lock().unwrap();
        if let Some(session) = &*given {
            return session.clone();
        }
        let answer = self.post("/tunmesh/auth/v0/init_session", agent_id, self.common.key.request());
        let session = self.common.key.open(&answer.body).unwrap_or_else(|| panic!("no session: {}", answer.start));
        given.insert(session).clone()
    }

    pub(super) fn post(&self, path: &str, agent_id: &str, body: &[u8]) -> Message {
        let authorization = self.authorization(&self.cluster(), agent_id, body);
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Authorization: {authorization}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.common.underlay.ask(self.common.agent, &request).unwrap()
    }

    pub(super) fn registration(&self) -> Vec<u8> {
        json!({"local": self.local, "remote": [], "stamp": unix_now()}).to_string().into_bytes()
    }

    fn cluster(&self) -> Session {
        Session { id: "Cluster Auth".into(), secret: self.common.cluster.clone() }
    }

    fn signed(&self, session: &Session, to: &str, body: &[u8]) -> Vec<u8> {
        answer("200 OK", &format!("authorization: {}\r\n{JSON}", self.authorization(session, to, body)), body)
    }

    fn authorization(&self, session: &Session, to: &str, body: &[u8]) -> String {
        let (now, sig) = (unix_now() as f64, format!("0/{}", sha256_hex(body)));
        let claims = json!({
            "iss": self.local["id"], "iat": unix_now(), "nbf": now - 5.0, "exp": now + 30.0,
            "aud": to, "sig": sig, "sub": session.id,
        });
        let template = Jwt::parse(TEMPLATE).unwrap();
        format!("Bearer: {}", template.with_claims(&claims.to_string(), &session.secret))
    }
}

/// The member that most peers are: `id`, at `url`, with `address` in the mesh.
pub(crate) fn member(id: &str, url: &str, address: &str) -> Value {
    json!({
        "id": id,
        "listen_url": url,
        "network_addresses": {"ipv4": {"cidr": "192.168.129.0/24"}},
        "node_addresses": {"ipv4": {"cidr": address}},
    })
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

const JSON: &str = "content-type: application/json\r\n";

/// A token with the header of the original, `{"alg":"HS256"}`, and nothing in it.
const TEMPLATE: &str = "eyJhbGciOiJIUzI1NiJ9.e30.AA";
