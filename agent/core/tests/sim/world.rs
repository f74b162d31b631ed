use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tunmesh_core::Now;
use tunmesh_mesh::{Action, Way};
use tunmesh_protocol::NodeId;
use tunmesh_session::{MessageType, message_type};

use crate::checks;
use crate::control::Answer;
use crate::host::{Agent, Host, Scale};
use crate::nat::Nat;
use crate::random::Random;
use crate::traffic::Traffic;

/// Hosts, the network between them, and the one clock.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) random: Random,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) hosts: Vec<Host>,
    pub(crate) rules: Rules,
    pub(crate) traffic: Traffic,
    scale: Scale,
    pub(crate) by_ip: BTreeMap<IpAddr, usize>,
    queue: BinaryHeap<Reverse<Due>>,
    posted: u64,
    /// Datagrams sent, and events of the network.
    pub(crate) datagrams: u64,
    pub(crate) handled: u64,
    /// Meetings, registrations and v0 sessions asked for.
    pub(crate) requests: [u64; 3],
}

/// What the network does.
pub(crate) struct Rules {
    /// Of datagrams, requests and answers, each.
    pub(crate) loss_percent: u64,
    /// One way, in ms; what is sent later may come earlier.
    pub(crate) delay: (u64, u64),
    /// Whether every change of routes is checked, or a few nodes now and then.
    pub(crate) checks_all: bool,
}

struct Due {
    at: Instant,
    posted: u64,
    mail: Mail,
}

pub(crate) enum Mail {
    /// The outcome of a request is known to its sender.
    Answer {
        to: usize,
        reader: NodeId,
        answer: Answer,
    },
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A packet that did not go in a datagram.
    Packet {
        way: Way,
        from: usize,
        sender: NodeId,
        to: NodeId,
        packet: Vec<u8>,
    },
    /// A request arrives where it is sent.
    Request {
        from: usize,
        sender: NodeId,
        action: Action,
    },
    Wake(usize),
}

impl World {
    /// `count` hosts, none of which runs; nodes call the first `seeds` of them.
    pub(crate) fn new(seed: u64, count: usize, scale: Scale) -> Self {
        let start = Instant::now();
        let mut random = Random::new(seed);
        let hosts: Vec<_> = (0..count).map(|index| Host::new(index, &mut random)).collect();
        let outside = |host: &Host| host.nat.as_ref().map_or_else(|| host.inner.ip(), Nat::address);
        Self {
            seed,
            random,
            start,
            now: start,
            by_ip: hosts.iter().map(|host| (outside(host), host.index)).collect(),
            hosts,
            rules: Rules { loss_percent: 0, delay: (5, 45), checks_all: true },
            traffic: Traffic::default(),
            scale,
            queue: BinaryHeap::new(),
            posted: 0,
            datagrams: 0,
            handled: 0,
            requests: [0; 3],
        }
    }

    /// Starts the node of a host, with a new id; what ran there before is gone.
    pub(crate) fn start(&mut self, index: usize) {
        let now = self.time(index);
        self.hosts[index].start(self.scale, &mut self.random, now);
        self.carry_out(index);
    }

    pub(crate) fn stop(&mut self, index: usize) {
        self.hosts[index].agent = None;
    }

    /// Has a node call the gossip of another one.
    pub(crate) fn introduce(&mut self, index: usize, other: usize) {
        let (endpoint, now) = (self.hosts[other].inner, self.time(index));
        self.agent_mut(index).core.join(&[endpoint], now);
        self.carry_out(index);
    }

    /// Whom the node on a host routes an address to.
    pub(crate) fn route(&self, index: usize, address: Ipv4Addr) -> Option<NodeId> {
        self.hosts[index].agent.as_ref()?.core.node().routes().owner(address.into()).cloned()
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.queue.peek().is_some_and(|Reverse(due)| due.at <= end)
            && let Some(Reverse(due)) = self.queue.pop()
        {
            self.now = due.at;
            self.handled += 1;
            self.handle(due.mail, due.at);
        }
        self.now = end;
    }

    /// The same, with a packet on every flow and a look at every node each 500 ms.
    pub(crate) fn run_with_traffic(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.send_traffic();
            self.run(STEP.min(end - self.now));
            checks::check_records(self);
        }
    }

    /// Lets time pass until the condition holds; how long it took.
    #[track_caller]
    pub(crate) fn run_until(
        &mut self,
        within: Duration,
        what: &str,
        holds: impl Fn(&Self) -> Result<(), String>,
    ) -> Duration {
        let begin = self.now;
        while let Err(reason) = holds(self) {
            assert!(self.now - begin < within, "{what} takes longer than {within:?}: {reason}, {}", self.place());
            self.run_with_traffic(STEP);
        }
        self.now - begin
    }

    /// Where a failure happened, to be found again.
    pub(crate) fn place(&self) -> String {
        format!("seed {} at {:?}", self.seed, self.now - self.start)
    }

    pub(crate) fn time(&self, index: usize) -> Now {
        self.hosts[index].time(self.start, self.now)
    }

    pub(crate) fn agents(&self) -> impl Iterator<Item = (&Host, &Agent)> {
        self.hosts.iter().filter_map(|host| Some((host, host.agent.as_ref()?)))
    }

    pub(crate) fn is_running(&self, index: usize, id: &NodeId) -> bool {
        self.hosts[index].agent.as_ref().is_some_and(|agent| agent.id == *id)
    }

    pub(crate) fn agent_mut(&mut self, index: usize) -> &mut Agent {
        self.hosts[index].agent.as_mut().expect("it runs")
    }

    pub(crate) fn is_lost(&mut self) -> bool {
        self.rules.loss_percent > 0 && self.random.chance(self.rules.loss_percent)
    }

    pub(crate) fn delay(&mut self) -> Duration {
        let (least, most) = self.rules.delay;
        Duration::from_micros(least * 1000 + self.random.below((most - least) * 1000 + 1))
    }

    pub(crate) fn post(&mut self, after: Duration, mail: Mail) {
        self.posted += 1;
        self.queue.push(Reverse(Due { at: self.now + after, posted: self.posted, mail }));
    }

    fn handle(&mut self, mail: Mail, at: Instant) {
        match mail {
            Mail::Answer { to, reader, answer } => self.handle_answer(to, &reader, answer),
            Mail::Datagram { from, to, bytes } => self.handle_datagram(from, to, bytes),
            Mail::Packet { way, from, sender, to, packet } => self.handle_packet(way, from, &sender, &to, packet),
            Mail::Request { from, sender, action } => self.handle_request(from, &sender, &action),
            Mail::Wake(index) => self.wake(index, at),
        }
    }

    fn wake(&mut self, index: usize, at: Instant) {
        let now = self.time(index);
        let Some(agent) = self.hosts[index].agent.as_mut().filter(|agent| agent.wake_at == Some(at)) else {
            return;
        };
        agent.wake_at = None;
        let links = &agent.links;
        agent.core.handle_timeout(now, |id| links.get(id).map_or((0, 0), |link| link.traffic));
        let (before, wakes) = agent.woken;
        agent.woken = (at, if before == at { wakes + 1 } else { 1 });
        assert!(agent.woken.1 < MAX_WAKES, "a timeout that does not go away, {}", self.place());
        self.carry_out(index);
    }

    fn handle_datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let Some(index) = self.by_ip.get(&to.ip()).copied() else {
            return;
        };
        let host = &self.hosts[index];
        let gets_in = host.nat.as_ref().map_or(to == host.inner, |nat| nat.lets_in(from, to, self.now));
        if !gets_in || host.agent.is_none() {
            return;
        }
        if message_type(&bytes) == Some(MessageType::Transport) {
            self.handle_sealed(index, from, bytes);
        } else {
            let now = self.time(index);
            // Handshakes and gossip of who was there before may be refused.
            let _refused = self.agent_mut(index).core.handle_datagram(from, &bytes, now);
        }
        self.carry_out(index);
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.posted).cmp(&(other.at, other.posted))
    }
}

/// Wakes of one node at one moment: what is due may make something else due at once.
const MAX_WAKES: u32 = 10;

/// Between two packets of a flow, and between two looks at all nodes.
const STEP: Duration = Duration::from_millis(500);
