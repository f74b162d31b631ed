//! Nodes on a simulated network with virtual time: every run is decided by its seed.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "what tests share fails like a test")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tunmesh_session::{
    Endpoint, Event, Now, OpenError, PeerId, PeerSettings, PresharedKey, PrivateKey, Refusal, Session, Suite, Target,
};

/// Time since 1970 at the start of every run.
const UNIX: Duration = Duration::from_secs(1_790_000_000);

/// Nodes `0..n`, each known to the others under its number, at addresses that tell it.
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) link: Link,
    /// Every datagram that was ever sent: from, to, content.
    pub(crate) sent: Vec<(usize, usize, Vec<u8>)>,
    pub(crate) now: Duration,
    start: Instant,
    seed: u64,
    chance: Chance,
    in_flight: BTreeMap<(Duration, u64), (usize, usize, Vec<u8>)>,
    sequence: u64,
}

/// What the network does to a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Out of 100, how many are lost.
    pub(crate) loss: u64,
    /// Out of 100, how many arrive twice.
    pub(crate) duplication: u64,
    /// Shortest time under way.
    pub(crate) delay: Duration,
    /// Random addition, which reorders.
    pub(crate) jitter: Duration,
}

/// A node and what its packet threads and its device would have.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) sessions: BTreeMap<u32, Arc<Session>>,
    pub(crate) sendable: BTreeMap<PeerId, Arc<Session>>,
    pub(crate) waiting: BTreeMap<PeerId, VecDeque<Vec<u8>>>,
    /// Plaintexts, keepalives excluded, with whose session they came in.
    pub(crate) received: Vec<(PeerId, Vec<u8>)>,
    pub(crate) events: Vec<Event>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) open_errors: Vec<OpenError>,
}

impl World {
    pub(crate) fn new(nodes: usize, suite: Suite, seed: u64) -> Self {
        let start = Instant::now();
        let mut chance = Chance(seed);
        let nodes = (0..nodes).map(|i| Node::new(Endpoint::new(private(i), start, chance.seed()))).collect();
        let link = Link { loss: 0, duplication: 0, delay: Duration::from_millis(10), jitter: Duration::ZERO };
        let mut world = Self {
            nodes,
            link,
            sent: Vec::new(),
            now: Duration::ZERO,
            start,
            seed,
            chance,
            in_flight: BTreeMap::new(),
            sequence: 0,
        };
        for i in 0..world.nodes.len() {
            world.introduce(i, suite);
        }
        world
    }

    /// The same node after its process was killed and started anew.
    pub(crate) fn restart(&mut self, i: usize, suite: Suite) {
        self.nodes[i] = Node::new(Endpoint::new(private(i), self.instant(), self.chance.seed()));
        self.introduce(i, suite);
    }

    fn introduce(&mut self, i: usize, suite: Suite) {
        for j in (0..self.nodes.len()).filter(|j| *j != i) {
            self.nodes[i].endpoint.insert_peer(id(j), settings(j, suite)).unwrap();
        }
    }

    pub(crate) fn instant(&self) -> Instant {
        self.start + self.now
    }

    pub(crate) fn clocks(&self) -> Now {
        Now { instant: self.instant(), unix: UNIX + self.now }
    }

    /// Responses to handshakes that node `i` sent.
    pub(crate) fn responses(&self, i: usize) -> usize {
        self.sent.iter().filter(|(from, _, datagram)| (*from, datagram[0]) == (i, 2)).count()
    }

    pub(crate) fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// Sends a packet as a packet thread would: on the session there is, or asking for one.
    pub(crate) fn send(&mut self, from: usize, to: usize, plaintext: &[u8]) {
        let clocks = self.clocks();
        let node = &mut self.nodes[from];
        match node.sendable.get(&id(to)).map(|session| seal(session, plaintext)) {
            Some(Some(datagram)) => {
                node.sendable[&id(to)].note_sent(clocks.instant, !plaintext.is_empty());
                self.launch(from, to, datagram);
            }
            Some(None) | None => {
                node.waiting.entry(id(to)).or_default().push_back(plaintext.to_vec());
                node.endpoint.connect(id(to), clocks);
                self.drain(from);
            }
        }
    }

    pub(crate) fn connect(&mut self, from: usize, to: usize) {
        let clocks = self.clocks();
        self.nodes[from].endpoint.connect(id(to), clocks);
        self.drain(from);
    }

    /// Lets `time` pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for i in 0..self.nodes.len() {
            self.drain(i);
        }
        while let Some((at, what)) = self.next_step().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            match what {
                Step::Deliver(key) => {
                    let (from, to, datagram) = self.in_flight.remove(&key).unwrap();
                    self.deliver(from, to, datagram);
                }
                Step::Wake(i) => {
                    let clocks = self.clocks();
                    self.nodes[i].endpoint.handle_timeout(clocks);
                    let next = self.nodes[i].endpoint.poll_timeout();
                    assert!(next.is_none_or(|at| at > clocks.instant), "seed {}: a timer stays due", self.seed);
                    self.drain(i);
                }
            }
        }
        self.now = end;
    }

    /// A datagram arrives at `to`.
    pub(crate) fn deliver(&mut self, from: usize, to: usize, mut datagram: Vec<u8>) {
        let clocks = self.clocks();
        let node = &mut self.nodes[to];
        if datagram.first() == Some(&4) {
            node.open(&mut datagram, clocks.instant);
        } else if let Err(reason) = node.endpoint.handle_datagram(clocks, address(from), &datagram) {
            node.refusals.push(reason);
        }
        self.drain(to);
    }

    fn next_step(&self) -> Option<(Duration, Step)> {
        let delivery = self.in_flight.keys().next().map(|key| (key.0, Step::Deliver(*key)));
        let wakes = self.nodes.iter().enumerate().filter_map(|(i, node)| {
            let at = node.endpoint.poll_timeout()?;
            Some((at.saturating_duration_since(self.start), Step::Wake(i)))
        });
        delivery.into_iter().chain(wakes).min_by_key(|(at, _)| *at)
    }

    fn drain(&mut self, i: usize) {
        while let Some(event) = self.nodes[i].endpoint.poll_event() {
            self.nodes[i].events.push(event.clone());
            self.heed(i, event);
        }
        while let Some(transmit) = self.nodes[i].endpoint.poll_transmit() {
            let to = match transmit.to {
                Target::Address(address) => usize::from(address.port()),
                Target::Peer(PeerId(j)) => j as usize,
            };
            self.launch(i, to, transmit.datagram);
        }
    }

    fn heed(&mut self, i: usize, event: Event) {
        let now = self.instant();
        let node = &mut self.nodes[i];
        match event {
            Event::Established { session, .. } => {
                assert!(node.sessions.insert(session.local_index(), session).is_none(), "an index was used twice");
                assert!(node.sessions.len() <= 3 * node.peer_count(), "more than three sessions for a peer");
            }
            Event::Keepalive { peer, session } => {
                if let Some(datagram) = seal(&session, b"") {
                    self.launch(i, peer.0 as usize, datagram);
                }
            }
            Event::Retired { peer, local_index } => {
                node.sessions.remove(&local_index).expect("only what was established is retired");
                node.sendable.retain(|_, session| session.peer() != peer || session.local_index() != local_index);
            }
            Event::Sendable { peer, session } => {
                node.sendable.insert(peer, Arc::clone(&session));
                for plaintext in node.waiting.remove(&peer).unwrap_or_default() {
                    session.note_sent(now, true);
                    let datagram = seal(&session, &plaintext).unwrap();
                    self.launch(i, peer.0 as usize, datagram);
                }
            }
            Event::Unreachable { peer } => {
                node.waiting.remove(&peer);
            }
        }
    }

    fn launch(&mut self, from: usize, to: usize, datagram: Vec<u8>) {
        self.sent.push((from, to, datagram.clone()));
        if self.chance.percent() < self.link.loss {
            return;
        }
        let copies = 1 + u32::from(self.chance.percent() < self.link.duplication);
        for _ in 0..copies {
            let at = self.now + self.link.delay + self.chance.up_to(self.link.jitter);
            self.sequence += 1;
            self.in_flight.insert((at, self.sequence), (from, to, datagram.clone()));
        }
    }
}

enum Step {
    Deliver((Duration, u64)),
    Wake(usize),
}

impl Node {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            sessions: BTreeMap::new(),
            sendable: BTreeMap::new(),
            waiting: BTreeMap::new(),
            received: Vec::new(),
            events: Vec::new(),
            refusals: Vec::new(),
            open_errors: Vec::new(),
        }
    }

    fn open(&mut self, datagram: &mut [u8], now: Instant) {
        let index = tunmesh_session::receiver_index(datagram);
        let Some(session) = index.and_then(|index| self.sessions.get(&index)).cloned() else { return };
        match session.opening().open(datagram) {
            Ok(opened) => {
                session.note_received(now, !opened.plaintext.is_empty());
                if !opened.plaintext.is_empty() {
                    self.received.push((session.peer(), datagram[opened.plaintext].to_vec()));
                }
                if opened.confirms {
                    self.endpoint.session_confirmed(session.peer(), session.local_index(), now);
                }
            }
            Err(error) => self.open_errors.push(error),
        }
    }

    fn peer_count(&self) -> usize {
        (0..100).filter(|i| self.endpoint.status(PeerId(*i)).is_some()).count()
    }

    /// Handshakes done with node `i`: as the initiator those answered, as the responder those whose session was used.
    pub(crate) fn handshakes(&self, i: usize) -> usize {
        let is_done = |event: &&Event| matches!(event, Event::Sendable { peer, .. } if *peer == id(i));
        self.events.iter().filter(is_done).count()
    }
}

/// A small generator of chance (SplitMix64).
pub(crate) struct Chance(pub u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn percent(&mut self) -> u64 {
        self.next() % 100
    }

    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.next() % (u64::try_from(most.as_micros()).unwrap() + 1))
    }

    fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.next().to_le_bytes());
        seed
    }
}

/// `plaintext` as a transport message on `session`.
pub(crate) fn seal(session: &Session, plaintext: &[u8]) -> Option<Vec<u8>> {
    let counter = session.reserve(1)?;
    let mut datagram = vec![0; Session::HEADER_LEN + plaintext.len() + Session::TAG_LEN];
    datagram[Session::HEADER_LEN..][..plaintext.len()].copy_from_slice(plaintext);
    session.seal(counter, 0, &mut datagram);
    Some(datagram)
}

pub(crate) fn private(i: usize) -> PrivateKey {
    let mut bytes = [0x5a; 32];
    bytes[1..9].copy_from_slice(&(i as u64).to_le_bytes()); // The first byte has bits that X25519 ignores.
    PrivateKey::from_bytes(bytes)
}

pub(crate) fn settings(i: usize, suite: Suite) -> PeerSettings {
    let preshared_key = Some(PresharedKey::from_bytes([7; 32]));
    PeerSettings { public_key: private(i).public_key(), preshared_key, suite, keepalive: None }
}

pub(crate) fn id(i: usize) -> PeerId {
    PeerId(u32::try_from(i).unwrap())
}

pub(crate) fn address(i: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], u16::try_from(i).unwrap()))
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
