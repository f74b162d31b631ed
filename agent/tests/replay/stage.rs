//! One run of the recording, played again against an agent of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;

use super::node::{Common, Kind, member};
use super::outcome::{self, Counts};
use super::peer::{Act, Peer, Script};
use super::recording::{Case, Request, Secrets, text};
use super::run::{Manner, Role, Run};
use super::session::{PeerKey, Session};
use super::transform::{Translation, rebuild};
use super::wire::{Message, Underlay, server_tls};
use super::{raw, unix_now};
use crate::support::{Agent, Lab, SLOW, wait_for};

/// The agent and the peers of a run.
struct Stage<'a> {
    lab: &'a Lab,
    agent: Agent,
    id: String,
    recorded_id: String,
    secrets: &'a Secrets,
    common: Common,
    peers: BTreeMap<u16, Peer>,
    sessions: BTreeMap<String, Session>,
    /// Ids whose registration was answered with 200.
    accepted: BTreeSet<String>,
}

/// Plays a run and returns what our agent answered in each row.
pub(crate) fn play(run: &Run, secrets: &Secrets) -> Vec<(String, String)> {
    let lab = Lab::new(4);
    raw::without_ipv6(&lab, 1);
    let mut stage = Stage::set(&lab, run, secrets);
    let at_start = stage.resident_bytes();
    let first = stage.round(run);
    let before = stage.resident_bytes();
    assert!(before < at_start + MAX_USE, "{}: from {at_start} to {before} bytes", run.name);
    for _ in 1..run.rounds {
        assert_eq!(stage.round(run), first, "another round");
    }
    let grown = stage.resident_bytes().saturating_sub(before);
    assert!(grown < MAX_GROWTH, "{}: memory grew by {grown} bytes", run.name);
    stage.close(run);
    first
}

impl<'a> Stage<'a> {
    fn set(lab: &'a Lab, run: &Run, secrets: &'a Secrets) -> Self {
        let agent = lab.start(1, run.config);
        let to: SocketAddr = "10.77.0.1:4567".parse().unwrap();
        let underlay = Underlay::of(lab.netns(4));
        let mut info = None;
        wait_for("the agent answers", SLOW, || {
            info = underlay.get(to, "/tunmesh/control/v0/node_info").ok();
            info.is_some()
        });
        let info: Value = serde_json::from_slice(&info.unwrap().body).unwrap();
        let common = Common {
            agent: to,
            cluster: secrets.cluster.clone(),
            key: Arc::new(PeerKey::from_pkcs8(&secrets.peer_key)),
            tls: server_tls(&lab.folder.join("cert.pem"), &lab.folder.join("key.pem")),
            underlay,
        };
        let requests = run.cases.iter().flat_map(Case::exchanges).filter_map(Request::of);
        let recorded_id = requests.map(|request| text(&request.claim("aud"))).find(|id| !id.is_empty());
        Self {
            lab,
            agent,
            id: text(&info["id"]),
            recorded_id: recorded_id.unwrap_or_default(),
            secrets,
            common,
            peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            accepted: BTreeSet::new(),
        }
    }

    fn round(&mut self, run: &Run) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        for (number, case) in run.cases.iter().enumerate() {
            let joining =
                run.cast.iter().filter(|role| role.before == case.name || (role.before.is_empty() && number == 0));
            for role in joining.filter(|role| !self.peers.contains_key(&role.port)).collect::<Vec<_>>() {
                self.join(role, run);
            }
            rows.extend(self.case(case));
        }
        rows
    }

    /// Brings in a peer that the recording knows already, with its session.
    fn join(&mut self, role: &Role, run: &Run) {
        let script: Script = match role.when_asked {
            Manner::Answers => Box::new(|_, _| Act::AsUsual),
            Manner::Hangs => {
                Box::new(|arrival, _| if arrival.kind == Kind::InitSession { Act::Never } else { Act::AsUsual })
            }
            Manner::Refuses => {
                let refusal = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
                let answer = || Act::Answer(refusal.to_vec());
                Box::new(move |arrival, _| if arrival.kind == Kind::InitSession { answer() } else { Act::AsUsual })
            }
        };
        let url = format!("https://10.77.0.4:{}", role.port);
        let peer = Peer::start(&self.common, member(role.id, &url, role.address), script);
        let session = peer.join(&self.id);
        self.accepted.insert(role.id.into());
        if matches!(role.when_asked, Manner::Answers) {
            wait_for("a session to the peer", SLOW, || {
                let peers = self.lab.status(1).unwrap()["peers"].clone();
                peers
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|known| known["node_id"] == role.id && !known["session_secs"].is_null())
            });
        }
        let requests = run.cases.iter().flat_map(Case::exchanges).filter_map(Request::of);
        let own = requests.filter(|request| request.path.contains(role.id)).map(|request| text(&request.claim("sub")));
        for recorded in own.filter(|id| self.secrets.sessions.contains_key(id)).collect::<Vec<_>>() {
            self.sessions.entry(recorded).or_insert_with(|| session.clone());
        }
        self.peers.insert(role.port, peer);
    }

    fn case(&mut self, case: &Case) -> Vec<(String, String)> {
        let before = self.counts();
        let exchanges = case.exchanges();
        let outcomes: Vec<_> = (0..exchanges.len()).map(|number| self.exchange(case, number)).collect();
        let mut deltas = self.counts();
        for (name, count) in before {
            *deltas.entry(name).or_default() -= count;
        }
        let deltas = outcome::deltas(&case.name, deltas.into_iter());
        let name = |number| match exchanges.len() {
            1 => case.name.clone(),
            _ => format!("{}#{}", case.name, number + 1),
        };
        outcomes.into_iter().enumerate().map(|(number, outcome)| (name(number), outcome + &deltas)).collect()
    }

    fn exchange(&mut self, case: &Case, number: usize) -> String {
        let exchange = &case.exchanges()[number];
        self.wait_as_recorded(case, number);
        if let Some(to) = exchange["sent_from_tun_host_to"].as_str() {
            let (near, far) = raw::datagram(self.lab, &case.name, to, &self.peers[&4601], &self.peers[&4602]);
            return outcome::reached(near, far);
        }
        let Some(mut request) = Request::of(exchange) else {
            return raw::outcome(self.lab, &self.common.underlay, self.common.agent, &case.name, exchange);
        };
        rebuild(case, exchange, &mut request);
        let bytes = self.translation(case).request(&request);
        let body = self.translation(case).body(&request.path, &request.body);
        let local = serde_json::from_slice::<Value>(&body).unwrap_or_default()["local"].clone();
        if request.path.contains("/registrations/register") && request.method == "POST" {
            self.listen(case, &local);
        }
        let answer = self
            .common
            .underlay
            .ask(self.common.agent, &bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        self.learn(&request, exchange, &answer, &local);
        if case.name == "packet/ok_echo" {
            let peer = &self.peers[&4601];
            wait_for("the echo reply", SLOW, || peer.packets().iter().any(|packet| packet[9] == 1 && packet[20] == 0));
        }
        let is_signed = answer.header("authorization").is_some();
        if is_signed {
            assert!(self.signature_holds(&request, &answer), "{}: the signature of our answer", case.name);
        }
        if request.path == "/metrics" && answer.status() == 200 {
            let missing = outcome::missing_families(&text(&exchange["response"]["body_text"]), &answer.body);
            assert!(missing.is_empty(), "{}: without {missing:?}", case.name);
        }
        if answer.header("content-type").is_some() {
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{}", case.name);
        }
        outcome::seen(&request, &answer, is_signed)
    }

    fn translation(&self, case: &Case) -> Translation<'_> {
        let shift = unix_now() as i64 - case.at.floor() as i64;
        let ids = (self.recorded_id.as_str(), self.id.as_str());
        Translation { ids, shift, secrets: self.secrets, sessions: &self.sessions }
    }

    /// Starts the peer that a registration names, unless it listens already.
    fn listen(&mut self, case: &Case, local: &Value) {
        let url = text(&local["listen_url"]);
        let port = url.strip_prefix("https://10.77.0.4:").and_then(|port| port.parse().ok());
        let Some(port) = port.filter(|port| *port > 1 && !self.peers.contains_key(port)) else { return };
        let other = match case.name.as_str() {
            "register/callback_other_id" => Some(("d7c2e10f-aeb7-4424-842e-1f18dd90bb14".to_owned(), url.clone())),
            "register/callback_other_listen_url" => Some((text(&local["id"]), "https://10.77.0.4:9".to_owned())),
            _ => None,
        };
        let script: Script = Box::new(move |arrival, _| match &other {
            Some((id, url)) if arrival.kind == Kind::NodeInfo => {
                let body = format!("{{\"id\":\"{id}\",\"listen_url\":\"{url}\"}}");
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
                Act::Answer(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
            }
            Some(_) | None => Act::AsUsual,
        });
        self.peers.insert(port, Peer::start(&self.common, local.clone(), script));
    }

    /// Takes note of members and sessions that came of an exchange.
    fn learn(&mut self, request: &Request, exchange: &Value, answer: &Message, local: &Value) {
        if request.method != "POST" || answer.status() != 200 {
            return;
        }
        if request.path.contains("/registrations/register") {
            self.accepted.insert(text(&local["id"]));
        }
        let recorded = text(&exchange["response"]["body_text"]);
        let recorded: Value = serde_json::from_str(&recorded).unwrap_or_default();
        if let Some(session) = self.common.key.open(&answer.body).filter(|_| request.path.contains("/init_session")) {
            self.peers[&4601].adopt(session.clone());
            self.sessions.insert(text(&recorded["id"]), session);
        }
    }

    /// Answers on a session route are signed with the session the peer made, all others with the cluster token.
    fn signature_holds(&self, request: &Request, answer: &Message) -> bool {
        let by_cluster = ["/registrations/register", "/init_session"].iter().any(|end| request.path.ends_with(end));
        if by_cluster {
            let cluster = Session { id: "Cluster Auth".into(), secret: self.secrets.cluster.clone() };
            return outcome::is_signed(answer, &self.id, &text(&request.claim("iss")), &cluster);
        }
        let id = request.path.rsplit('/').next().unwrap();
        let peer = self.peers.values().find(|peer| peer.id() == id).unwrap();
        peer.newest().is_some_and(|session| outcome::is_signed(answer, &self.id, id, &session))
    }

    /// Where the recording let time pass, waits for what was to happen meanwhile.
    fn wait_as_recorded(&self, case: &Case, number: usize) {
        let told = |times| {
            for peer in self.peers.values().filter(|peer| self.accepted.contains(&peer.id())) {
                let what = format!("{}: {} is registered to {times} times", case.name, peer.id());
                let count = || peer.count(Kind::Register) + peer.count(Kind::Reregister);
                wait_for(&what, SLOW, || peer.is_superseded(&self.peers) || count() >= times);
            }
        };
        match (case.name.as_str(), number) {
            (name, 3) if name.starts_with("poison/") => told(1),
            ("register/registrations_later", _) => told(1),
            ("register/registrations_55s", _) => told(2),
            ("startup_grace/t9", _) => {
                wait_for("the grace to end", SLOW, || self.get("/health").status() == 503);
            }
            _ => {}
        }
    }

    /// After all cases: no bad member, no crash, no complaint in the log.
    fn close(mut self, run: &Run) {
        let listing: Value = serde_json::from_slice(&self.get("/tunmesh/control/v0/registrations").body).unwrap();
        for (id, node) in listing["nodes"].as_object().unwrap() {
            assert!(self.accepted.contains(id), "{}: member {id} was never accepted", run.name);
            let registration = serde_json::json!({"local": node["node_info"], "remote": [], "stamp": node["stamp"]});
            tunmesh_protocol::Registration::parse(registration.to_string().as_bytes()).unwrap();
        }
        assert!(self.agent.child.try_wait().unwrap().is_none(), "{}: the agent ended", run.name);
        let log = self.agent.log();
        for word in ["panicked", "ERROR"] {
            assert!(!log.contains(word), "{}: {word} in the log\n{log}", run.name);
        }
    }

    fn counts(&self) -> Counts {
        outcome::counts(&String::from_utf8_lossy(&self.get("/metrics").body))
    }

    fn get(&self, path: &str) -> Message {
        self.common.underlay.get(self.common.agent, path).unwrap()
    }

    fn resident_bytes(&self) -> u64 {
        self.lab.status(1).unwrap()["resident_bytes"].as_u64().unwrap()
    }
}

/// Memory an agent may take for a run, in bytes: reading a registration of 4,000 entries takes 16 MB, which the allocator
/// keeps per thread.
const MAX_USE: u64 = 40 << 20;

/// Memory an agent may keep after it went through all of it once, in bytes.
const MAX_GROWTH: u64 = 3 << 20;
