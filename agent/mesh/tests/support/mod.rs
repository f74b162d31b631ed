//! What the tests of whole nodes share: members, settings, and a node with a clock of its own.
#![allow(dead_code, reason = "each test binary uses another part")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tunmesh_mesh::{Action, BootstrapGroup, Event, Node, Proof, Refusal, Retries, Settings, Timers};
use tunmesh_protocol::{ControlUrl, Member, NodeId, Registration};

/// A node and its clock, which moves only when told to.
pub(crate) struct Bench {
    pub(crate) node: Node,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
}

impl Bench {
    pub(crate) fn new(settings: Settings) -> Self {
        let start = Instant::now();
        Self { node: Node::new(settings, start), start, now: start }
    }

    /// Lets time pass, with the timeouts that fall into it at their exact times.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.node.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.node.handle_timeout(self.now);
            assert!(self.node.poll_timeout().is_none_or(|next| next > self.now), "a timeout that does not go away");
        }
        self.now = end;
    }

    /// Lets time pass until the node wants something done; the actions, and how long it took in milliseconds.
    pub(crate) fn next_actions(&mut self, within: Duration) -> (u128, Vec<String>) {
        let begin = self.now;
        let end = begin + within;
        loop {
            let actions = self.actions();
            let next = self.node.poll_timeout().filter(|at| *at <= end);
            let (true, Some(at)) = (actions.is_empty(), next) else {
                if actions.is_empty() {
                    self.now = end;
                }
                return ((self.now - begin).as_millis(), actions);
            };
            self.now = at.max(self.now);
            self.node.handle_timeout(self.now);
        }
    }

    /// All actions wanted now, as words: `meet https://b`, `open b`, `rotate b`, `register b`.
    pub(crate) fn actions(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.node.poll_action()).map(|action| words(&action)).collect()
    }

    /// All events since the last call, as words: `joined b`, `left b Stale`, `reload`, `routes`.
    pub(crate) fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.node.poll_event())
            .map(|event| match event {
                Event::ConfigReloadDue => "reload".into(),
                Event::MemberJoined { member } => format!("joined {}", member.id),
                Event::MemberLeft { member, reason } => format!("left {} {reason:?}", member.id),
                Event::RoutesChanged => "routes".into(),
            })
            .collect()
    }

    /// Has `member` register here, called back as it should be.
    pub(crate) fn register(&mut self, member: &Member, remote: &[Member]) -> Result<(), Refusal> {
        let proof = Proof { called_back: true, vacated: None, tells_more: false };
        self.node.accept(&registration(member, remote), proof, self.now)
    }

    /// Registers a member, opens the session to it, and forgets the actions and events that come of it.
    pub(crate) fn settle(&mut self, member: &Member) {
        self.register(member, &[]).expect("nothing speaks against it");
        self.node.handle_session_opened(&member.id, self.now);
        self.actions();
        self.events();
    }

    /// The ids of the known members.
    pub(crate) fn known(&self) -> Vec<String> {
        self.node.members().map(|view| view.member.id.to_string()).collect()
    }

    /// The ids of the members that have a route.
    pub(crate) fn routed(&self) -> Vec<String> {
        self.node.routes().iter().map(|(_, id)| id.to_string()).collect()
    }
}

pub(crate) fn words(action: &Action) -> String {
    match action {
        Action::Meet { url, .. } => format!("meet {url}"),
        Action::OpenSession { member, rotate: false } => format!("open {}", member.id),
        Action::OpenSession { member, rotate: true } => format!("rotate {}", member.id),
        Action::Register { member } => format!("register {}", member.id),
    }
}

/// The original's defaults, for the node `local` at 10.0.0.1/24 of the mesh 10.0.0.0/16, without groups.
pub(crate) fn settings() -> Settings {
    let timers = |reregistration, stale| Timers {
        reregistration_interval: Duration::from_secs(reregistration),
        stale_threshold: Duration::from_secs(stale),
        packet_expiration: Duration::from_millis(100),
    };
    Settings {
        local: member("local", "10.0.0.1/24"),
        enable_broadcast: false,
        groom_interval: Duration::from_secs(5),
        bootstrap_retry_interval: Duration::from_secs(15),
        startup_grace: Duration::ZERO,
        near: timers(5, 30),
        far: timers(30, 120),
        further_networks: Vec::new(),
        hearsay_delay: Duration::ZERO,
        ipv6: None,
        devices: Vec::new(),
        request_timeout: Duration::from_secs(1),
        session_max_age: Duration::from_secs(3600),
        session_validity: Duration::from_secs(30),
        bootstrap_groups: BTreeMap::new(),
    }
}

/// The same with one bootstrap group.
pub(crate) fn settings_with_group(urls: &[&str], retries: Retries) -> Settings {
    let mut settings = settings();
    settings.bootstrap_groups.insert("default".into(), group(urls, retries));
    settings
}

pub(crate) fn group(urls: &[&str], retries: Retries) -> BootstrapGroup {
    BootstrapGroup { urls: urls.iter().map(|text| url(text)).collect(), retries }
}

/// A member at `https://<name>`.
pub(crate) fn member(name: &str, address: &str) -> Member {
    Member {
        id: id(name),
        listen_url: url(&format!("https://{name}")),
        network: "10.0.0.0/16".parse().expect("it is a network"),
        address: address.parse().expect("it is an address"),
    }
}

pub(crate) fn id(name: &str) -> NodeId {
    name.parse().expect("it is an id")
}

pub(crate) fn url(text: &str) -> ControlUrl {
    text.parse().expect("it is a URL")
}

pub(crate) fn registration(local: &Member, remote: &[Member]) -> Registration {
    Registration {
        local: local.clone(),
        remote: remote.to_vec(),
        stamp: 1_795_177_342,
        skipped_remotes: 0,
        further: None,
    }
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
