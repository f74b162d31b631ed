//! A node against a reference so simple that it can be read: a list of members and when each was last heard.

mod support;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tunmesh_mesh::{Action, Contested, Event, MeetFailure, Proof, RegisterFailure, Retries};
use tunmesh_protocol::{ControlUrl, Member, NodeId};

use support::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_node_knows_whom_the_reference_knows(steps in prop::collection::vec(step(), 1..120)) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
            run.compare();
        }
        run.rest();
    }

    #[test]
    fn no_packet_makes_the_route_table_panic(
        packet in prop::collection::vec(any::<u8>(), 0..80),
        ethertype in prop_oneof![Just(0x0800u16), any::<u16>()],
        first in any::<Option<bool>>(),
    ) {
        let mut packet = packet;
        if let (Some(v6), false) = (first, packet.is_empty()) {
            packet[0] = if v6 { 0x60 } else { 0x45 };
        }
        let mut bench = Bench::new(settings());
        bench.settle(&member("b", "10.0.0.2/24"));
        let routes = bench.node.routes();
        if let Ok((header, _)) = routes.inbound_v0(&id("b"), ethertype, &packet) {
            prop_assert_eq!(header.source().to_string(), "10.0.0.2");
        }
        if let Ok(header) = tunmesh_packet::parse(&packet) {
            prop_assert!(routes.outbound(&header).is_err() || header.source().to_string() == "10.0.0.1");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Somebody registers; what was found out about it may be too little or too old.
    Register {
        claim: Claim,
        called_back: bool,
        vacated: bool,
        told: Vec<Claim>,
    },
    /// Somebody registers and is looked at; the outcome is used by a later registration.
    Screen {
        claim: Claim,
    },
    /// The oldest action is answered.
    Answer {
        outcome: Outcome,
        claim: Claim,
    },
    Pass {
        millis: u64,
    },
    Fault {
        who: u8,
    },
    SessionLost {
        who: u8,
    },
    Reconfigure {
        short: bool,
        grouped: bool,
    },
}

/// Who says to have which address at which place.
#[derive(Clone, Copy, Debug)]
struct Claim {
    who: u8,
    address: u8,
    place: u8,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// By whom it was meant for, as that is known; by whoever `claim` is, if nobody is.
    Success,
    /// By whoever `claim` is.
    Other,
    Denied,
    Unreachable,
    /// Never answered.
    Dropped,
}

fn step() -> impl Strategy<Value = Step> {
    let told = prop::collection::vec(claim(), 0..4);
    prop_oneof![
        4 => (claim(), prop::bool::weighted(0.9), any::<bool>(), told)
            .prop_map(|(claim, called_back, vacated, told)| Step::Register { claim, called_back, vacated, told }),
        1 => claim().prop_map(|claim| Step::Screen { claim }),
        4 => (outcome(), claim()).prop_map(|(outcome, claim)| Step::Answer { outcome, claim }),
        3 => (0u64..40_000).prop_map(|millis| Step::Pass { millis }),
        1 => (0u8..6).prop_map(|who| Step::Fault { who }),
        1 => (0u8..6).prop_map(|who| Step::SessionLost { who }),
        1 => any::<(bool, bool)>().prop_map(|(short, grouped)| Step::Reconfigure { short, grouped }),
    ]
}

fn claim() -> impl Strategy<Value = Claim> {
    (0u8..6, 0u8..6, 0u8..6).prop_map(|(who, address, place)| Claim { who, address, place })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Success),
        1 => Just(Outcome::Other),
        1 => Just(Outcome::Denied),
        2 => Just(Outcome::Unreachable),
        1 => Just(Outcome::Dropped),
    ]
}

impl Claim {
    fn member(self) -> Member {
        let address = ["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24", "10.0.0.255/24", "10.0.7.9/24", "192.0.2.1/24"];
        Member {
            listen_url: url(&format!("https://p{}", self.place)),
            ..member(&format!("m{}", self.who), address[usize::from(self.address)])
        }
    }
}

struct Run {
    bench: Bench,
    short: bool,
    grouped: bool,
    /// The reference.
    known: Vec<(Member, Instant)>,
    /// The last claim to a taken address, when its owner had been heard then, and what the node made of that.
    screened: Option<(Member, Instant, Contested)>,
    under_way: Vec<(Action, Instant)>,
}

impl Run {
    fn new() -> Self {
        let bench = Bench::new(Self::settings(false, true));
        let mut run = Self { bench, short: false, grouped: true, known: vec![], screened: None, under_way: vec![] };
        run.collect();
        run
    }

    fn settings(short: bool, grouped: bool) -> tunmesh_mesh::Settings {
        let mut settings = settings();
        if grouped {
            settings = settings_with_group(&["https://p1", "https://p2", "https://local"], Retries::Forever);
        }
        if short {
            settings.near.stale_threshold = secs(9);
        }
        settings
    }

    fn take(&mut self, step: Step) {
        let now = self.bench.now;
        match step {
            Step::Register { claim, called_back, vacated, told } => {
                let claimant = claim.member();
                let told: Vec<Member> = told.into_iter().map(Claim::member).collect();
                let registration = registration(&claimant, &told);
                let screened = self.screened.clone().filter(|_| vacated);
                let proof = screened.as_ref().map(|(owner, heard_at, _)| (owner.clone(), *heard_at));
                let expected = self.claim(&claimant, called_back, proof);
                let proof =
                    Proof { called_back, vacated: screened.map(|(_, _, contested)| contested), tells_more: false };
                let outcome = self.bench.node.accept(&registration, proof, now);
                assert_eq!(outcome.is_ok(), expected, "{outcome:?}");
            }
            Step::Screen { claim } => {
                let screening = self.bench.node.screen(&registration(&claim.member(), &[]), None, None);
                if let Some(contested) = screening.ok().and_then(|screening| screening.contested) {
                    let owner = contested.owner.clone();
                    let heard_at = self.find(&owner.id).map(|(_, heard_at)| *heard_at).expect("owners are known");
                    self.screened = Some((owner, heard_at, contested));
                }
            }
            Step::Answer { outcome, claim } => {
                if !self.under_way.is_empty() {
                    let (action, _) = self.under_way.remove(0);
                    self.answer(action, outcome, claim);
                }
            }
            Step::Pass { millis } => self.pass(Duration::from_millis(millis)),
            Step::Fault { who } => self.bench.node.handle_fault(&id(&format!("m{who}")), now),
            Step::SessionLost { who } => self.bench.node.handle_session_lost(&id(&format!("m{who}")), now),
            Step::Reconfigure { short, grouped } => {
                (self.short, self.grouped) = (short, grouped);
                self.bench.node.reconfigure(Self::settings(short, grouped), now);
                self.pass(Duration::ZERO);
            }
        }
        self.collect();
    }

    fn answer(&mut self, action: Action, outcome: Outcome, claim: Claim) {
        let now = self.bench.now;
        let node = &mut self.bench.node;
        match action {
            Action::Meet { url, .. } => {
                let answer = registration(&claim.member(), &[]);
                let (result, expected) = match outcome {
                    Outcome::Success | Outcome::Other => {
                        let outcome = node.handle_met(&url, Ok(&answer), now);
                        (outcome, self.meet(&url, &answer.local))
                    }
                    Outcome::Denied => (node.handle_met(&url, Err(MeetFailure::Itself), now), true),
                    Outcome::Unreachable => (node.handle_met(&url, Err(MeetFailure::Unreachable), now), true),
                    Outcome::Dropped => return,
                };
                assert_eq!(result.is_ok(), expected, "{result:?}");
            }
            Action::OpenSession { member, .. } => match outcome {
                Outcome::Success | Outcome::Other => node.handle_session_opened(&member.id, now),
                Outcome::Denied | Outcome::Unreachable => node.handle_session_failed(&member.id, now),
                Outcome::Dropped => {}
            },
            Action::Register { member } => {
                let answer = match outcome {
                    Outcome::Success => Ok(registration(&member, &[])),
                    Outcome::Other => Ok(registration(&claim.member(), &[])),
                    Outcome::Denied => Err(RegisterFailure::Denied),
                    Outcome::Unreachable => Err(RegisterFailure::Unreachable),
                    Outcome::Dropped => return,
                };
                // A refused answer is still a sign of life; one from another place changes nothing else either.
                let _refused = node.handle_registered(&member.id, answer.as_ref().map_err(|failure| *failure), now);
                if answer.is_ok_and(|answer| answer.local.id == member.id)
                    && let Some((_, heard_at)) = self.known.iter_mut().find(|(known, _)| known.id == member.id)
                {
                    *heard_at = now;
                }
            }
        }
    }

    /// The rules in their plainest form; whether the claim is accepted.
    fn claim(&mut self, claimant: &Member, called_back: bool, vacated: Option<(Member, Instant)>) -> bool {
        let address = |member: &Member| member.address.address();
        if address(claimant) == address(&settings().local) {
            return false;
        }
        if let Some((known, _)) = self.find(&claimant.id) {
            if address(known) != address(claimant) || (known.listen_url != claimant.listen_url && !called_back) {
                return false;
            }
        } else {
            let same_address = |(member, _): &&(Member, Instant)| address(member) == address(claimant);
            let owner = self.known.iter().find(same_address).cloned();
            let owner = owner.filter(|(owner, _)| owner.listen_url != claimant.listen_url);
            let is_vacated = owner.as_ref().is_none_or(|(owner, at)| vacated == Some((owner.clone(), *at)));
            if !called_back || !is_vacated {
                return false;
            }
            self.known.retain(|(member, _)| owner.as_ref().is_none_or(|(owner, _)| owner.id != member.id));
        }
        self.known.retain(|(member, _)| member.id != claimant.id && member.listen_url != claimant.listen_url);
        self.known.push((claimant.clone(), self.bench.now));
        true
    }

    /// What answers at one URL and says to be at another is not stored, unless it is known there.
    fn meet(&mut self, url: &ControlUrl, claimant: &Member) -> bool {
        let before = self.known.clone();
        let known_there = self.find(&claimant.id).is_some_and(|(known, _)| known.listen_url == claimant.listen_url);
        let accepted = self.claim(claimant, true, None);
        if !known_there && claimant.listen_url != *url {
            self.known = before;
        }
        accepted
    }

    fn pass(&mut self, time: Duration) {
        let end = self.bench.now + time;
        while let Some(next) = self.bench.node.poll_timeout().filter(|next| *next <= end) {
            self.bench.pass(next.saturating_duration_since(self.bench.now));
            self.collect();
        }
        self.bench.pass(end - self.bench.now);
        let now = self.bench.now;
        let near = settings().local.address;
        let short = self.short;
        self.known.retain(|(member, heard_at)| {
            let is_near = near.contains(member.address.address());
            let threshold = if is_near { if short { 9 } else { 30 } } else { 120 };
            *heard_at + secs(threshold) > now
        });
    }

    /// Takes all actions; none may be for a target that has one of the kind under way.
    fn collect(&mut self) {
        let now = self.bench.now;
        while let Some(event) = self.bench.node.poll_event() {
            if let Event::MemberLeft { member, .. } = event {
                self.under_way.retain(|(action, _)| !is_for(action, &member.id));
            }
        }
        while let Some(action) = self.bench.node.poll_action() {
            // What was given up after a minute may be wanted once more.
            self.under_way.retain(|(_, begun)| now < *begun + secs(60));
            assert!(!self.under_way.iter().any(|(other, _)| same_target(other, &action)), "{action:?} twice");
            self.under_way.push((action, now));
        }
    }

    fn find(&self, id: &NodeId) -> Option<&(Member, Instant)> {
        self.known.iter().find(|(member, _)| member.id == *id)
    }

    fn compare(&mut self) {
        self.pass(Duration::ZERO);
        let mut expected: Vec<(&Member, Instant)> = self.known.iter().map(|(member, at)| (member, *at)).collect();
        expected.sort_by_key(|(member, _)| &member.id);
        let known: Vec<(&Member, Instant)> =
            self.bench.node.members().map(|view| (view.member, view.last_seen)).collect();
        assert_eq!(known, expected);
        let mut routed: Vec<String> = expected
            .iter()
            .filter(|(member, _)| !["10.0.0.255/24", "192.0.2.1/24"].contains(&member.address.to_string().as_str()))
            .map(|(member, _)| member.id.to_string())
            .collect();
        let mut routes = self.bench.routed();
        routed.sort();
        routes.sort();
        assert_eq!(routes, routed);
    }

    /// Left alone, with no action answered, everybody goes stale and in the end only the group is still called.
    fn rest(&mut self) {
        self.pass(secs(1000));
        self.compare();
        assert_eq!(self.bench.known(), Vec::<String>::new());
        assert_eq!(self.bench.node.poll_timeout().is_some(), self.grouped);
    }
}

fn same_target(a: &Action, b: &Action) -> bool {
    match (a, b) {
        (Action::Meet { url: a, .. }, Action::Meet { url: b, .. }) => a.same_place(b),
        (Action::OpenSession { member: a, .. }, Action::OpenSession { member: b, .. })
        | (Action::Register { member: a }, Action::Register { member: b }) => a.id == b.id,
        (Action::Meet { .. } | Action::OpenSession { .. } | Action::Register { .. }, _) => false,
    }
}

fn is_for(action: &Action, id: &NodeId) -> bool {
    match action {
        Action::Meet { .. } => false,
        Action::OpenSession { member, .. } | Action::Register { member } => member.id == *id,
    }
}
