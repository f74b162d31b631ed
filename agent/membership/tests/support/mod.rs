//! What the tests of whole nodes share: a clock, a network, and nodes on it.
#![allow(dead_code, reason = "each test binary uses another part")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tunmesh_membership::{
    Capabilities, Event, Identity, KeyIdentity, KeyRing, Membership, Now, Record, RecordDraft, RefusedRecord, Settings,
    Signed, Signer,
};
use tunmesh_protocol::{NodeId, Secret, UnixTime};

/// Nodes, the network between them, and the one clock.
pub(crate) struct Net {
    pub(crate) seed: u64,
    random: u64,
    start: Instant,
    pub(crate) now: Instant,
    hosts: Vec<Host>,
    by_address: HashMap<SocketAddr, usize>,
    queue: BinaryHeap<Reverse<Due>>,
    posted: u64,
    pub(crate) rules: Rules,
    /// Everything sent since the start.
    pub(crate) bytes: u64,
    pub(crate) datagrams: u64,
    /// Whether events are kept until a test asks for them.
    pub(crate) keeps_events: bool,
    /// The last datagrams sent, if they are kept.
    pub(crate) tape: Option<Vec<(SocketAddr, SocketAddr, Vec<u8>)>>,
}

/// What the network does to datagrams.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) loss_percent: u64,
    pub(crate) duplicate_percent: u64,
    /// One way, in ms.
    pub(crate) delay: (u64, u64),
    /// Hosts below this index and those from it on do not reach each other.
    pub(crate) split_at: Option<usize>,
}

struct Host {
    node: Option<Membership>,
    /// What it was last woken for.
    wake_at: Option<Instant>,
    starts: u64,
    events: Vec<Event>,
    /// Whom it sent to and when, if it is behind a NAT.
    nat: Option<HashMap<SocketAddr, Instant>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    posted: u64,
    what: What,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Datagram { from: SocketAddr, to: usize, bytes: Vec<u8> },
    Wake(usize),
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        let start = Instant::now();
        Self {
            seed,
            random: seed,
            start,
            now: start,
            hosts: Vec::new(),
            by_address: HashMap::new(),
            queue: BinaryHeap::new(),
            posted: 0,
            rules: Rules { loss_percent: 0, duplicate_percent: 0, delay: (5, 45), split_at: None },
            bytes: 0,
            datagrams: 0,
            keeps_events: true,
            tape: None,
        }
    }

    /// So many nodes with the identity of a key each, which do not know each other.
    pub(crate) fn with_nodes(count: usize) -> Self {
        let mut net = Self::new(1);
        for index in 0..count {
            net.add(index, key_identity(index, 0), draft(index));
        }
        net
    }

    /// Starts a node on the next host.
    pub(crate) fn add(&mut self, index: usize, identity: Box<dyn Identity>, draft: RecordDraft) {
        assert_eq!(index, self.hosts.len());
        self.by_address.insert(outside(index), index);
        self.hosts.push(Host { node: None, wake_at: None, starts: 0, events: Vec::new(), nat: None });
        self.start(index, identity, draft);
    }

    /// Puts a node on a host, in place of what ran there.
    pub(crate) fn start(&mut self, index: usize, identity: Box<dyn Identity>, draft: RecordDraft) {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.random(u64::MAX).to_be_bytes());
        let node = Membership::new(Settings::new(draft), key_ring(), identity, seed, self.time());
        self.replace(index, node.expect("a short record"));
    }

    /// The same with a node that was made already.
    pub(crate) fn replace(&mut self, index: usize, node: Membership) {
        let host = &mut self.hosts[index];
        host.starts += 1;
        host.node = Some(node);
        host.events.clear();
        host.wake_at = None;
        self.collect(index);
    }

    pub(crate) fn stop(&mut self, index: usize) {
        self.hosts[index].node = None;
        self.hosts[index].wake_at = None;
    }

    /// Puts a host behind a NAT: what others send reaches it only from where it sent to within the last minute.
    pub(crate) fn hide(&mut self, index: usize) {
        self.hosts[index].nat = Some(HashMap::new());
    }

    pub(crate) fn join(&mut self, index: usize, seed: usize) {
        self.with(index, |node, now| node.join(now, outside(seed)));
    }

    /// Calls a node, and takes what comes of it.
    pub(crate) fn with<T>(&mut self, index: usize, call: impl FnOnce(&mut Membership, Now) -> T) -> T {
        let now = self.time();
        let result = call(self.hosts[index].node.as_mut().expect("it runs"), now);
        self.collect(index);
        result
    }

    pub(crate) fn node(&self, index: usize) -> &Membership {
        self.hosts[index].node.as_ref().expect("it runs")
    }

    pub(crate) fn runs(&self, index: usize) -> bool {
        self.hosts[index].node.is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(crate) fn time(&self) -> Now {
        Now { instant: self.now, unix: UnixTime::new(EPOCH + (self.now - self.start)) }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    pub(crate) fn run_millis(&mut self, millis: u64) {
        self.run(Duration::from_millis(millis));
    }

    /// Lets time pass until the condition holds, which is looked at every 10 ms, or 100 among many nodes; how long it took.
    #[track_caller]
    pub(crate) fn run_until(&mut self, within: Duration, what: &str, condition: impl Fn(&Self) -> bool) -> Duration {
        let begin = self.now;
        while !condition(self) {
            assert!(self.now - begin < within, "{what} takes longer than {within:?}, seed {}", self.seed);
            self.run_millis(if self.hosts.len() > 200 { 100 } else { 10 });
        }
        self.now - begin
    }

    /// The hosts whose nodes this one knows, ascending.
    pub(crate) fn known(&self, index: usize) -> Vec<usize> {
        let mut known: Vec<usize> = self.node(index).members().map(|record| host_of(record)).collect();
        known.sort_unstable();
        known
    }

    /// What happened on a node since the last call.
    pub(crate) fn events(&mut self, index: usize) -> Vec<Event> {
        std::mem::take(&mut self.hosts[index].events)
    }

    /// Every running node knows exactly the others that run, in their latest incarnation.
    pub(crate) fn is_complete(&self) -> bool {
        let running: Vec<&Membership> = self.hosts.iter().filter_map(|host| host.node.as_ref()).collect();
        if running.iter().any(|node| node.len() + 1 != running.len()) {
            return false;
        }
        let latest: HashMap<&NodeId, u64> =
            running.iter().map(|node| (&node.own().id, node.own().incarnation)).collect();
        running.iter().all(|node| node.members().all(|record| latest.get(&record.id) == Some(&record.incarnation)))
    }

    /// A number below `bound` (splitmix64).
    pub(crate) fn random(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    /// Hands a datagram to a node at once.
    pub(crate) fn deliver(
        &mut self,
        to: usize,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), tunmesh_membership::Refused> {
        self.with(to, |node, now| node.handle_datagram(now, from, bytes))
    }

    fn step(&mut self, end: Instant) -> bool {
        if self.queue.peek().is_none_or(|Reverse(due)| due.at > end) {
            return false;
        }
        let Some(Reverse(due)) = self.queue.pop() else {
            return false;
        };
        self.now = due.at;
        match due.what {
            What::Wake(index) => {
                let host = &mut self.hosts[index];
                if host.wake_at == Some(due.at) && host.node.is_some() {
                    host.wake_at = None;
                    self.with(index, |node, now| {
                        node.handle_timeout(now);
                        assert!(
                            node.poll_timeout().is_none_or(|at| at > now.instant),
                            "a timeout that does not go away"
                        );
                    });
                }
            }
            What::Datagram { from, to, bytes } => {
                if self.hosts[to].node.is_some() && self.lets_in(to, from) {
                    // What is refused is counted there.
                    let _refused = self.deliver(to, from, &bytes);
                }
            }
        }
        true
    }

    fn lets_in(&self, to: usize, from: SocketAddr) -> bool {
        self.hosts[to].nat.as_ref().is_none_or(|sent| {
            sent.get(&from).is_some_and(|at| self.now.saturating_duration_since(*at) < Duration::from_secs(60))
        })
    }

    /// Takes what a node wants sent and told, and sets its alarm.
    fn collect(&mut self, index: usize) {
        let mut node = self.hosts[index].node.take().expect("it runs");
        while let Some((to, bytes)) = node.poll_transmit() {
            self.post(index, to, bytes);
        }
        let host = &mut self.hosts[index];
        let events = std::iter::from_fn(|| node.poll_event());
        if self.keeps_events {
            host.events.extend(events);
        } else {
            events.for_each(drop);
        }
        if let Some(at) = node.poll_timeout()
            && host.wake_at.is_none_or(|wake_at| at < wake_at)
        {
            let at = at.max(self.now);
            host.wake_at = Some(at);
            self.posted += 1;
            self.queue.push(Reverse(Due { at, posted: self.posted, what: What::Wake(index) }));
        }
        self.hosts[index].node = Some(node);
    }

    fn post(&mut self, from: usize, to_address: SocketAddr, bytes: Vec<u8>) {
        assert!(bytes.len() <= tunmesh_membership::MAX_DATAGRAM_LEN);
        self.bytes += bytes.len() as u64;
        self.datagrams += 1;
        if let Some(tape) = &mut self.tape {
            tape.push((outside(from), to_address, bytes.clone()));
        }
        let now = self.now;
        if let Some(sent) = &mut self.hosts[from].nat {
            sent.insert(to_address, now);
        }
        let Some(to) = self.by_address.get(&to_address).copied() else {
            return;
        };
        let split = self.rules.split_at.is_some_and(|at| (from < at) != (to < at));
        if split || self.random(100) < self.rules.loss_percent {
            return;
        }
        let copies = 1 + usize::from(self.random(100) < self.rules.duplicate_percent);
        for bytes in std::iter::repeat_n(bytes, copies) {
            let (least, most) = self.rules.delay;
            let at = self.now + Duration::from_millis(least + self.random(most - least + 1));
            self.posted += 1;
            let what = What::Datagram { from: outside(from), to, bytes };
            self.queue.push(Reverse(Due { at, posted: self.posted, what }));
        }
    }
}

/// Where a host is seen from outside.
pub(crate) fn outside(index: usize) -> SocketAddr {
    let [.., high, low] = u32::try_from(index).expect("a small number").to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, high, low)), 4600)
}

/// What the node on a host says of itself.
pub(crate) fn draft(index: usize) -> RecordDraft {
    draft_of(index, 0)
}

/// The same for the node of a later start, which has another id.
pub(crate) fn draft_of(index: usize, start: u64) -> RecordDraft {
    let [.., high, low] = u32::try_from(index).expect("a small number").to_be_bytes();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(index as u64).to_be_bytes());
    id[8..].copy_from_slice(&start.to_be_bytes());
    RecordDraft {
        id: NodeId::from_random(id),
        url: format!("https://host{index}.example:4567").parse().expect("it is a URL"),
        endpoints: vec![outside(index)],
        public_key: [7; 32],
        addresses: vec![format!("10.0.{high}.{low}/32").parse().expect("it is a network")],
        groups: vec![],
        capabilities: Capabilities(1),
        version: "1.0.0".into(),
    }
}

pub(crate) fn host_of(record: &Record) -> usize {
    let host = record.url.host();
    host.trim_start_matches("host").trim_end_matches(".example").parse().expect("it is one of ours")
}

pub(crate) fn key_ring() -> KeyRing {
    KeyRing::new(&Secret::from_bytes(b"the secret of this cluster".to_vec()), &[])
}

pub(crate) fn key_identity(index: usize, start: u64) -> Box<dyn Identity> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(index as u64).to_be_bytes());
    seed[8..16].copy_from_slice(&start.to_be_bytes());
    Box::new(KeyIdentity::new(&seed).expect("any seed is a key"))
}

/// Signatures as long as those of Ed25519 that cost nothing to verify, for many nodes: they show nothing about forgery.
pub(crate) struct CheapIdentity(pub(crate) u64);

impl Identity for CheapIdentity {
    fn sign(&self, message: &[u8]) -> Signed {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.0.to_be_bytes());
        Signed { signer: Signer::Key(key), signature: vec![message.len() as u8; 64] }
    }

    fn verify(&self, _: &Record, signer: &Signer, message: &[u8], signature: &[u8]) -> Result<(), RefusedRecord> {
        match signer {
            Signer::Certificate(_) => Err(RefusedRecord::WrongSigner),
            Signer::Key(_) if signature == [message.len() as u8; 64] => Ok(()),
            Signer::Key(_) => Err(RefusedRecord::BadSignature),
        }
    }
}

/// When the clock of every test starts, in Unix time.
const EPOCH: Duration = Duration::from_secs(1_795_000_000);
