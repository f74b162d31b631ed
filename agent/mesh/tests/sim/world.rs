use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tunmesh_mesh::{Action, BootstrapGroup, MeetFailure, Node, Proof, RegisterFailure, Retries, Settings};
use tunmesh_protocol::{ControlUrl, Member, NodeId, Registration, UnixTime};

use crate::support::{self, url};

/// Hosts, the network between them, and the one clock.
pub(crate) struct World {
    seed: u64,
    random: u64,
    start: Instant,
    now: Instant,
    hosts: Vec<Host>,
    /// What arrives when; the number keeps the order of what arrives at the same time.
    mail: BTreeMap<(Instant, u64), Mail>,
    sent: u64,
    wasted: u64,
    /// Requests and answers lost, each, out of a hundred.
    pub(crate) loss_percent: u64,
    /// Hosts below this index and those from it on do not reach each other.
    split_at: Option<usize>,
}

/// A machine that runs a node, or does not at the moment.
struct Host {
    url: ControlUrl,
    address: String,
    seeds: Vec<ControlUrl>,
    starts: u32,
    node: Option<Node>,
}

enum Mail {
    /// A request arrives where it is sent.
    Request { from: usize, sender: NodeId, action: Action },
    /// The outcome is known to the sender.
    Answer { to: usize, reader: NodeId, answer: Answer },
}

enum Answer {
    Met(ControlUrl, Result<Registration, MeetFailure>),
    Registered(NodeId, Result<Registration, RegisterFailure>),
    Session(NodeId, bool),
}

impl World {
    /// `count` hosts, all started; each calls the hosts `seeds` first, itself included.
    pub(crate) fn new(seed: u64, count: usize, seeds: &[usize]) -> Self {
        let start = Instant::now();
        let host_url = |index: usize| url(&format!("https://host{index}:4567"));
        let hosts = (0..count).map(|index| Host {
            url: host_url(index),
            // A third of the hosts is in another subnet.
            address: format!("10.0.{}.{}/24", index % 3 / 2, index + 1),
            seeds: seeds.iter().map(|seed| host_url(*seed)).collect(),
            starts: 0,
            node: None,
        });
        let mut world = Self {
            seed,
            random: seed,
            start,
            now: start,
            hosts: hosts.collect(),
            mail: BTreeMap::new(),
            sent: 0,
            wasted: 0,
            loss_percent: 0,
            split_at: None,
        };
        for index in 0..count {
            world.restart(index);
        }
        world
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timeouts = self.hosts.iter().filter_map(|host| host.node.as_ref()?.poll_timeout());
            let mail = self.mail.keys().next().map(|(at, _)| *at);
            let Some(next) = timeouts.chain(mail).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.mail.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let mail = entry.remove();
                self.deliver(mail);
            }
            for index in 0..self.hosts.len() {
                let due = |node: &&mut Node| node.poll_timeout().is_some_and(|at| at <= self.now);
                if let Some(node) = self.hosts[index].node.as_mut().filter(due) {
                    node.handle_timeout(self.now);
                    self.collect(index);
                }
            }
        }
        self.now = end;
    }

    /// Starts the node of a host, with a new id; what ran there before is gone.
    pub(crate) fn restart(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.starts += 1;
        let mut settings = support::settings();
        settings.local = Member {
            listen_url: host.url.clone(),
            ..support::member(&format!("n{index}-{}", host.starts), &host.address)
        };
        let group = BootstrapGroup { urls: host.seeds.clone(), retries: Retries::Forever };
        host.node =
            Some(Node::new(Settings { bootstrap_groups: [("seeds".into(), group)].into(), ..settings }, self.now));
        self.collect(index);
    }

    pub(crate) fn stop(&mut self, index: usize) {
        self.hosts[index].node = None;
    }

    /// Gives a stopped host another URL.
    pub(crate) fn move_away(&mut self, index: usize) {
        self.hosts[index].url = url(&format!("https://moved{index}-{}:4567", self.hosts[index].starts));
    }

    /// Gives a stopped host the address of another one.
    pub(crate) fn share_address(&mut self, index: usize, other: usize) {
        self.hosts[index].address = self.hosts[other].address.clone();
    }

    pub(crate) fn split_at(&mut self, at: Option<usize>) {
        self.split_at = at;
    }

    /// Does something bad to somebody, or ends something bad.
    pub(crate) fn trouble(&mut self) {
        let count = self.hosts.len();
        let index = usize::try_from(self.random(count as u64)).expect("a small number");
        match self.random(6) {
            0 => self.stop(index),
            1 | 2 => self.restart(index),
            3 => self.split_at(Some(index)),
            4 => self.split_at(None),
            _ => self.loss_percent = self.random(40),
        }
    }

    /// Ends all that is bad and starts all hosts that are down.
    pub(crate) fn calm_down(&mut self) {
        self.split_at(None);
        self.loss_percent = 0;
        for index in 0..self.hosts.len() {
            if self.hosts[index].node.is_none() {
                self.restart(index);
            }
        }
    }

    /// A number below `bound` (splitmix64).
    pub(crate) fn random(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    /// Every running node knows and routes exactly the other running ones.
    #[track_caller]
    pub(crate) fn assert_complete(&self) {
        let all: BTreeSet<String> = self.running().map(|node| local(node).id.to_string()).collect();
        for node in self.running() {
            let mut expected = all.clone();
            expected.remove(local(node).id.as_str());
            let known: BTreeSet<String> = node.members().map(|view| view.member.id.to_string()).collect();
            assert_eq!(known, expected, "{} at {:?}, seed {}", local(node).id, self.elapsed(), self.seed);
            assert_eq!(node.routes().iter().count(), expected.len(), "seed {}", self.seed);
        }
    }

    /// No node that ever ran on `stranger` is known to the one on `index`.
    #[track_caller]
    pub(crate) fn assert_unknown_to(&self, stranger: usize, index: usize) {
        let Some(node) = &self.hosts[index].node else {
            return;
        };
        let prefix = format!("n{stranger}-");
        let known = node.members().any(|view| view.member.id.as_str().starts_with(&prefix));
        assert!(!known, "{stranger} is known to {index} at {:?}, seed {}", self.elapsed(), self.seed);
    }

    /// The node on `index` has a route to the one on `other`.
    #[track_caller]
    pub(crate) fn assert_routed(&self, index: usize, other: usize) {
        let [from, to] = [index, other].map(|index| self.hosts[index].node.as_ref().expect("it runs"));
        let to = local(to);
        let routes = from.routes();
        let owner = routes.owner(to.address.address().into());
        assert_eq!(owner, Some(&to.id), "{index} to {other}, seed {}", self.seed);
    }

    /// Those of `others` that are near to `index`.
    pub(crate) fn near<const N: usize>(&self, index: usize, others: [usize; N]) -> Vec<usize> {
        let subnet = |index: usize| index % 3 / 2;
        others.into_iter().filter(|other| subnet(*other) == subnet(index)).collect()
    }

    /// Requests made so far to hosts that are not running.
    pub(crate) fn calls_to_the_dead(&self) -> u64 {
        self.wasted
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.hosts.iter().filter_map(|host| host.node.as_ref())
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        self.split_at.is_none_or(|at| (a < at) == (b < at))
    }

    fn is_lost(&mut self) -> bool {
        self.loss_percent > 0 && self.random(100) < self.loss_percent
    }

    fn post(&mut self, after: Duration, mail: Mail) {
        self.sent += 1;
        self.mail.insert((self.now + after, self.sent), mail);
    }

    /// Sends what a node wants sent, and checks it.
    fn collect(&mut self, index: usize) {
        let Some(mut node) = self.hosts[index].node.take() else {
            return;
        };
        let sender = local(&node).id.clone();
        while let Some(action) = node.poll_action() {
            let delay = Duration::from_millis(5 + self.random(40));
            let sender = sender.clone();
            self.post(delay, Mail::Request { from: index, sender, action });
        }
        let changed = std::iter::from_fn(|| node.poll_event()).count() > 0;
        if changed {
            check(&node, self.seed);
        }
        self.hosts[index].node = Some(node);
    }

    fn deliver(&mut self, mail: Mail) {
        match mail {
            Mail::Request { from, sender, action } => {
                if !self.is_running(from, &sender) {
                    return;
                }
                self.wasted += u64::from(!self.is_anybody_at(&action));
                let lost = self.is_lost();
                let answer = if lost { None } else { self.serve(from, &action) };
                let answer = if self.is_lost() { None } else { answer };
                // Nothing comes back: the sender waits for its request timeout.
                let delay = if answer.is_some() { 5 + self.random(40) } else { 1000 };
                let answer = answer.unwrap_or_else(|| unreachable_answer(&action));
                self.post(Duration::from_millis(delay), Mail::Answer { to: from, reader: sender, answer });
            }
            Mail::Answer { to, reader, answer } => {
                if self.is_running(to, &reader) {
                    let now = self.now;
                    let node = self.hosts[to].node.as_mut().expect("it is running");
                    take(node, answer, now);
                    self.collect(to);
                }
            }
        }
    }

    /// What the receiver makes of a request; nothing, if it does not get there.
    fn serve(&mut self, from: usize, action: &Action) -> Option<Answer> {
        match action {
            Action::Meet { url, .. } => {
                let to = self.host_at(from, url)?;
                if to == from {
                    return Some(Answer::Met(url.clone(), Err(MeetFailure::Itself)));
                }
                let outcome = self.register(from, to).ok_or(MeetFailure::Refused);
                Some(Answer::Met(url.clone(), outcome))
            }
            Action::Register { member } => {
                let to = self.host_at(from, &member.listen_url)?;
                let outcome = if self.is_running(to, &member.id) {
                    self.register(from, to).ok_or(RegisterFailure::Failed)
                } else {
                    Err(RegisterFailure::Denied)
                };
                Some(Answer::Registered(member.id.clone(), outcome))
            }
            Action::OpenSession { member, .. } => {
                let to = self.host_at(from, &member.listen_url)?;
                let asking = self.hosts[from].node.as_ref().map(|node| local(node).id.clone())?;
                let receiver = self.hosts[to].node.as_ref()?;
                let known = local(receiver).id == member.id && receiver.member(&asking).is_some();
                Some(Answer::Session(member.id.clone(), known))
            }
        }
    }

    /// Registers one node to another as the shell of an agent would, callbacks included.
    fn register(&mut self, from: usize, to: usize) -> Option<Registration> {
        let wall = UnixTime::new(self.elapsed());
        let registration = self.hosts[from].node.as_ref()?.answer(wall);
        let id = registration.local.id.clone();
        let screening = self.hosts[to].node.as_ref()?.screen(&registration, Some(&id), None).ok()?;
        let answers =
            |url: &ControlUrl, id: &NodeId| self.host_at(to, url).is_some_and(|host| self.is_running(host, id));
        let called_back = screening.callback && answers(&registration.local.listen_url, &id);
        let vacated = screening.contested.filter(|claim| !answers(&claim.owner.listen_url, &claim.owner.id));
        let now = self.now;
        let node = self.hosts[to].node.as_mut()?;
        node.accept(&registration, Proof { called_back, vacated, tells_more: false }, now).ok()?;
        let answer = node.answer(wall);
        self.collect(to);
        Some(answer)
    }

    /// The running host at `url` if `from` reaches it.
    fn host_at(&self, from: usize, url: &ControlUrl) -> Option<usize> {
        let to = self.hosts.iter().position(|host| host.url.same_place(url) && host.node.is_some())?;
        self.reaches(from, to).then_some(to)
    }

    fn is_anybody_at(&self, action: &Action) -> bool {
        let place = match action {
            Action::Meet { url, .. } => url,
            Action::OpenSession { member, .. } | Action::Register { member } => &member.listen_url,
        };
        self.hosts.iter().any(|host| host.node.is_some() && host.url.same_place(place))
    }

    fn is_running(&self, index: usize, id: &NodeId) -> bool {
        self.hosts[index].node.as_ref().is_some_and(|node| local(node).id == *id)
    }
}

fn local(node: &Node) -> &Member {
    &node.settings().local
}

fn unreachable_answer(action: &Action) -> Answer {
    match action {
        Action::Meet { url, .. } => Answer::Met(url.clone(), Err(MeetFailure::Unreachable)),
        Action::OpenSession { member, .. } => Answer::Session(member.id.clone(), false),
        Action::Register { member } => Answer::Registered(member.id.clone(), Err(RegisterFailure::Unreachable)),
    }
}

fn take(node: &mut Node, answer: Answer, now: Instant) {
    // What is refused is only to be logged.
    let _refused = match answer {
        Answer::Met(url, outcome) => node.handle_met(&url, outcome.as_ref().map_err(|failure| *failure), now),
        Answer::Registered(id, outcome) => {
            node.handle_registered(&id, outcome.as_ref().map_err(|failure| *failure), now)
        }
        Answer::Session(id, true) => {
            node.handle_session_opened(&id, now);
            Ok(())
        }
        Answer::Session(id, false) => {
            node.handle_session_failed(&id, now);
            Ok(())
        }
    };
}

/// What holds for every node at every moment.
#[track_caller]
fn check(node: &Node, seed: u64) {
    let routes = node.routes();
    let mut addresses = BTreeSet::new();
    for view in node.members() {
        assert!(addresses.insert(view.member.address.address()), "two members with one address, seed {seed}");
        assert_ne!(view.member.id, local(node).id);
    }
    for (address, id) in routes.iter() {
        let member = node.member(id).map(|view| view.member);
        assert_eq!(
            member.map(|member| member.address.address().into()),
            Some(address),
            "a route to nobody, seed {seed}"
        );
    }
}
