//! An agent of ours that meets one odd peer of the recording.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::{Value, json};

use super::node::{Arrival, Common, Kind, member};
use super::peer::{Act, Peer, Script};
use super::recording::{Secrets, client_case, text, tls_file};
use super::session::PeerKey;
use super::transform::Translation;
use super::unix_now;
use super::wire::{Underlay, server_tls};
use crate::support::{Agent, Lab, SLOW, wait_for};

/// A place for one agent: its namespace, and that of its peers.
pub(crate) struct Stand<'a> {
    lab: &'a Lab,
    number: usize,
    secrets: &'a Arc<Secrets>,
    /// Length of the log before.
    logged: usize,
}

/// A running agent and the member it should know.
pub(crate) struct View<'a> {
    stand: &'a Stand<'a>,
    agent: Agent,
    common: Common,
    member_id: String,
    socket: Cell<Option<UdpSocket>>,
}

/// An agent and the peer that its bootstrap URL leads to.
pub(crate) struct Scene<'a> {
    view: View<'a>,
    pub(crate) peer: Peer,
}

impl<'a> Stand<'a> {
    pub(crate) fn new(lab: &'a Lab, number: usize, secrets: &'a Arc<Secrets>) -> Self {
        let mut stand = Self { lab, number, secrets, logged: 0 };
        stand.logged = stand.whole_log().len();
        stand
    }

    /// The member that a peer at this port is.
    pub(crate) fn member(&self, id: &str, port: u16) -> Value {
        member(id, &format!("https://10.77.0.4:{port}"), "192.168.129.40/26")
    }

    pub(crate) fn own_url(&self) -> String {
        format!("https://10.77.0.{}:4567", self.number)
    }

    /// A peer that does all as it should.
    pub(crate) fn good_peer(&self, member: &Value) -> Peer {
        let tls = server_tls(&tls_file("cert.pem"), &tls_file("key.pem"));
        Peer::start(&self.common(tls), member.clone(), Box::new(|_, _| Act::AsUsual))
    }

    /// Something at the URL of `front` that names the node `behind`.
    pub(crate) fn balancer(&self, front: &Value, behind: &Value) -> Peer {
        let tls = server_tls(&tls_file("cert.pem"), &tls_file("key.pem"));
        let body = json!({"id": behind["id"], "listen_url": behind["listen_url"]}).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = (head + &body).into_bytes();
        Peer::start(&self.common(tls), front.clone(), Box::new(move |_, _| Act::Answer(answer.clone())))
    }

    /// The recorded odd peer, with an agent that is told its URL.
    pub(crate) fn scene(&'a self, case: &str) -> Scene<'a> {
        let record = client_case(case);
        let first = text(&record["exchanges_seen_by_peer"][0]["request"]["path"]);
        let recorded_url = first.split("/tunmesh/").next().filter(|url| !url.is_empty()).map(str::to_owned);
        let url = recorded_url.unwrap_or_else(|| format!("https://10.77.0.4:{}", 4700 + case.len()));
        let (certificate, key, ca) = match case {
            "tls_ca_leaf" => ("leaf.pem", "leaf.key", true),
            "tls_ca_leaf_ecdsa" => ("leaf_ecdsa.pem", "leaf_ecdsa.key", true),
            "tls_expired" => ("expired.pem", "expired.key", true),
            "tls_untrusted" => ("untrusted.pem", "untrusted.key", true),
            _ => ("cert.pem", "key.pem", false),
        };
        let member = member(&text(&record["peer_id"]), &url, "192.168.129.40/26");
        let script = script(case, record, Arc::clone(self.secrets));
        let tls = server_tls(&tls_file(certificate), &tls_file(key));
        let peer = Peer::start(&self.common(tls), member.clone(), script);
        let suffix = if case == "bootstrap_trailing_slash" { "/" } else { "" };
        let ca = if ca { "\n      ca_file_path: ca.pem" } else { "" };
        Scene { view: self.agent(&[url + suffix], ca, &member), peer }
    }

    /// An agent with these bootstrap URLs and short timers. `ssl` is added to the group of that name.
    pub(crate) fn agent(&'a self, urls: &[String], ssl: &str, member: &Value) -> View<'a> {
        let own_url = self.own_url();
        let secret = String::from_utf8_lossy(&self.secrets.cluster).into_owned();
        let config = format!(
            "tun_mesh:
  config_version: 1.1
  clustering:
    bootstrap_groups: {{default: {{bootstrap_node_urls: {urls:?}}}}}
    control_api_advertise_url: {own_url}
    auth: {{secret: {secret}}}
  control_api:
    ssl:
      cert_file_path: cert.pem
      key_file_path: key.pem{ssl}
  networking:
    ipv4: {{network_cidr: 192.168.129.0/24, node_address_cidr: 192.168.129.10/26}}
  process:
    uid: 65532
    timing:
      registrations:
        bootstrap_retry_interval: 1
        groom_interval: 1
        local: {{reregistration_interval: 1, stale_threshold: 4}}
"
        );
        let file = self.lab.write(&format!("client{}.yaml", self.number), &config);
        let tls = server_tls(&tls_file("cert.pem"), &tls_file("key.pem"));
        let agent = self.lab.start_from(self.number, &file);
        let member_id = text(&member["id"]);
        let view = View { stand: self, agent, common: self.common(tls), member_id, socket: Cell::default() };
        wait_for("the agent answers", SLOW, || view.common.underlay.get(view.common.agent, "/health").is_ok());
        view
    }

    /// Nothing must have gone so wrong that somebody had to act.
    pub(crate) fn check_log(&self) {
        let log = self.whole_log();
        for word in ["panicked", "ERROR"] {
            assert!(!log[self.logged..].contains(word), "{word} in the log");
        }
    }

    fn whole_log(&self) -> String {
        std::fs::read_to_string(self.lab.folder.join(format!("node{}.log", self.number))).unwrap_or_default()
    }

    fn common(&self, tls: Arc<ServerConfig>) -> Common {
        Common {
            agent: SocketAddr::from(([10, 77, 0, u8::try_from(self.number).unwrap()], 4567)),
            cluster: self.secrets.cluster.clone(),
            key: Arc::new(PeerKey::from_pkcs8(&self.secrets.peer_key)),
            tls,
            underlay: Underlay::of(self.lab.netns(4)),
        }
    }
}

impl View<'_> {
    /// Ids of the members that the agent lists.
    pub(crate) fn listed(&self) -> Vec<String> {
        let page = self.common.underlay.get(self.common.agent, "/tunmesh/control/v0/registrations").unwrap();
        let listing: Value = serde_json::from_slice(&page.body).unwrap();
        listing["nodes"].as_object().unwrap().keys().cloned().collect()
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.listed().contains(&self.member_id)
    }

    /// Sends a datagram from the agent's host to the mesh address of the peer.
    pub(crate) fn send(&self, payload: &str) {
        let socket = self.socket.take().unwrap_or_else(|| {
            let bound = self.stand.lab.netns(self.stand.number).run(|| UdpSocket::bind("192.168.129.10:0"));
            bound.unwrap().unwrap()
        });
        socket.send_to(payload.as_bytes(), "192.168.129.40:9999").unwrap();
        self.socket.set(Some(socket));
    }

    /// Packets dropped for this reason so far.
    pub(crate) fn drops(&self, reason: &str) -> u64 {
        self.stand.lab.status(self.stand.number).unwrap()["drops"][reason].as_u64().unwrap_or_default()
    }

    pub(crate) fn log(&self) -> String {
        self.agent.log()[self.stand.logged..].to_owned()
    }
}

impl<'a> Scene<'a> {
    pub(crate) fn wait_until_listed(&self) {
        self.wait("the peer is listed", || self.is_listed());
    }

    /// Waits for a session first, if the packets are to leave.
    pub(crate) fn send(&self, payload: &str) {
        self.wait("a session", || self.peer.newest().is_some() && self.has_session());
        self.view.send(payload);
    }

    /// When the agent calls again it has judged what the first call brought.
    pub(crate) fn wait_for_second_attempt(&self) {
        self.wait("a second attempt", || match self.peer.count(Kind::NodeInfo) {
            0 => self.peer.broken() >= 2,
            calls => calls >= 2,
        });
    }

    pub(crate) fn wait(&self, what: &str, condition: impl FnMut() -> bool) {
        wait_for(what, SLOW, condition);
    }

    /// The peer stops to listen and to answer.
    pub(crate) fn leave(self) -> View<'a> {
        self.view
    }

    fn has_session(&self) -> bool {
        let status = self.view.stand.lab.status(self.view.stand.number).unwrap();
        status["peers"].as_array().unwrap().iter().any(|peer| !peer["session_secs"].is_null())
    }
}

impl<'a> Deref for Scene<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

/// Answers as recorded: the answer to the n-th request of a kind again to the n-th, the last one to all further ones.
fn script(case: &str, record: Value, secrets: Arc<Secrets>) -> Script {
    let case = case.to_owned();
    Box::new(move |arrival: &Arrival, number| {
        let exchanges = record["exchanges_seen_by_peer"].as_array().unwrap();
        let alike: Vec<_> = exchanges.iter().filter(|exchange| kind(exchange) == arrival.kind).collect();
        let recorded = alike.get(number).or_else(|| alike.last());
        let act = match (recorded, arrival.kind) {
            (None, Kind::Batch) if case == "batch_404" => Act::Answer(NOT_FOUND.to_vec()),
            (Some(exchange), _) if exchange.get("note").is_some() => Act::Drop,
            (Some(_), Kind::Packet) if number > 0 && matches!(case.as_str(), "packet_401" | "packet_404") => {
                Act::AsUsual
            }
            (Some(exchange), _) => answer(exchange, arrival, &record, &secrets),
            (None, _) => Act::AsUsual,
        };
        match (case.as_str(), arrival.kind) {
            ("register_slow", Kind::Register) | ("packet_timeout", Kind::Packet) => Act::Late(TOO_LATE, Box::new(act)),
            ("packet_slow", Kind::Packet | Kind::Batch) => Act::Late(Duration::from_millis(400), Box::new(act)),
            // The first answer is awaited meanwhile, so that there is something to make a batch of.
            ("batch_404", Kind::Packet) if number == 0 => Act::Late(Duration::from_millis(50), Box::new(act)),
            _ => act,
        }
    })
}

/// A recorded answer for this run. Sessions are made anew, as the secret in them is for one key only.
fn answer(exchange: &Value, arrival: &Arrival, record: &Value, secrets: &Secrets) -> Act {
    let is_good = matches!(exchange["response"]["status"].as_u64(), Some(200 | 204));
    let recorded_id = text(&record["ruby_id"]);
    let usual = match arrival.kind {
        Kind::NodeInfo | Kind::Register => false,
        // 200 is no good answer to a packet.
        Kind::Packet => exchange["response"]["status"] == 204,
        Kind::Batch | Kind::InitSession | Kind::Other | Kind::Reregister | Kind::RotateSession => is_good,
    };
    if usual {
        return Act::AsUsual;
    }
    let asked: Value = serde_json::from_str(&text(&exchange["request"]["body_text"])).unwrap_or_default();
    let shift = asked["stamp"].as_i64().map_or(0, |stamp| unix_now() as i64 - stamp);
    let ids = (recorded_id.as_str(), arrival.issuer.as_str());
    Act::Answer(Translation { ids, shift, secrets, sessions: &Default::default() }.answer(&exchange["response"]))
}

/// Of the request in a recorded exchange.
fn kind(exchange: &Value) -> Kind {
    let note = text(&exchange["note"]);
    let path = exchange["request"]["path"].as_str().unwrap_or(&note);
    Kind::of(path)
}

const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found";

/// Wait that is over the agent's `request_timeout`, in which it gave up.
const TOO_LATE: Duration = Duration::from_millis(1500);
