//! Two operators with caches of any age, pods that come, go and come again under their names: against a model of the API
//! server, which takes a claim once, no address is ever two living members', nor one's of which another has a certificate.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use tunmesh_crds::{AddressOwner, OwnerKind};
use tunmesh_operator::addresses::{Claiming, Holder, Owner, Phase, Pools, Rules, Step, Verdict, rest, review};

/// What happens next. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Event {
    PodMade(usize),
    PodDeleted(usize),
    /// An operator's cache becomes current.
    Refreshed(usize),
    /// An operator begins to find an address for a pod that its cache shows.
    ClaimBegun(usize, usize),
    /// An operator looks at a claim that its cache shows, and asks for its owner.
    ReviewBegun(usize, usize),
    /// An operator makes one request of one thing that it has begun.
    Request(usize, usize),
    /// A person sets another lifetime of certificates.
    LifetimeSet(u64),
    /// The member of a pod gets another certificate.
    Renewed(usize),
    Passed(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..NAMES).prop_map(Event::PodMade),
        2 => (0..NAMES).prop_map(Event::PodDeleted),
        2 => (0..2_usize).prop_map(Event::Refreshed),
        4 => (0..2_usize, 0..NAMES).prop_map(|(operator, pod)| Event::ClaimBegun(operator, pod)),
        3 => (0..2_usize, 0..8_usize).prop_map(|(operator, claim)| Event::ReviewBegun(operator, claim)),
        8 => (0..2_usize, 0..4_usize).prop_map(|(operator, job)| Event::Request(operator, job)),
        1 => (1..LONGEST).prop_map(Event::LifetimeSet),
        1 => (0..NAMES).prop_map(Event::Renewed),
        1 => (0..40_u64).prop_map(Event::Passed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_address_is_two_living_members_and_all_get_one_in_the_end(events in prop::collection::vec(event(), 0..250)) {
        let mut world = World::default();
        for event in events {
            world.take(event);
            world.check()?;
        }
        // Both operators see what there is and finish; then every pod has an address, and no other claim is left.
        for _ in 0..20 {
            for operator in 0..2 {
                world.take(Event::Refreshed(operator));
                (0..NAMES).for_each(|pod| world.take(Event::ClaimBegun(operator, pod)));
                (0..8).for_each(|claim| world.take(Event::ReviewBegun(operator, claim)));
                while !world.operators[operator].jobs.is_empty() {
                    world.take(Event::Request(operator, 0));
                    world.check()?;
                }
            }
            world.take(Event::Passed(10));
        }
        let living: BTreeSet<_> = world.api.pods.values().copied().collect();
        prop_assert!(living.iter().all(|uid| world.api.members.contains_key(uid)), "{:?}", world.api);
        prop_assert_eq!(world.api.claims.len(), living.len(), "{:?}", world.api);
    }
}

/// What the API server has.
#[derive(Clone, Debug, Default)]
struct Api {
    /// UIDs of the pods by name.
    pods: BTreeMap<usize, u64>,
    claims: BTreeMap<Ipv4Addr, Claim>,
    /// Addresses of members by the UID of the pod: made once, never changed.
    members: BTreeMap<u64, Ipv4Addr>,
    certificates: Vec<Certificate>,
}

/// A certificate that names an address.
#[derive(Clone, Copy, Debug)]
struct Certificate {
    address: Ipv4Addr,
    owner: u64,
    ends: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    owner: u64,
    phase: Phase,
    version: u64,
    /// Of the certificates that name the address, the longest.
    lifetime: Duration,
}

struct World {
    api: Api,
    operators: [Operator; 2],
    now: Duration,
    made: u64,
    lifetime: Duration,
}

impl Default for World {
    fn default() -> Self {
        let lifetime = Duration::from_secs(15);
        Self { api: Api::default(), operators: Default::default(), now: Duration::ZERO, made: 0, lifetime }
    }
}

#[derive(Default)]
struct Operator {
    cache: Api,
    jobs: VecDeque<Job>,
}

enum Job {
    Claim {
        uid: u64,
        claiming: Claiming,
        /// A claim of this address was not taken: it is to be read.
        taken: Option<Ipv4Addr>,
    },
    Apply {
        address: Ipv4Addr,
        version: u64,
        verdict: Verdict,
    },
}

impl World {
    fn take(&mut self, event: Event) {
        match event {
            Event::PodMade(name) => {
                self.made += 1;
                self.api.pods.entry(name).or_insert(self.made);
            }
            Event::PodDeleted(name) => {
                self.api.pods.remove(&name);
            }
            Event::Refreshed(operator) => self.operators[operator].cache = self.api.clone(),
            Event::ClaimBegun(operator, name) => self.operators[operator].begin(name),
            Event::ReviewBegun(operator, index) => self.begin_review(operator, index),
            Event::Request(operator, index) => self.request(operator, index),
            Event::LifetimeSet(secs) => self.lifetime = Duration::from_secs(secs),
            Event::Renewed(name) => {
                if let Some(uid) = self.api.pods.get(&name).copied() {
                    self.issue(uid);
                }
            }
            Event::Passed(secs) => self.now += Duration::from_secs(secs),
        }
    }

    /// Gives the member of a pod that is there a certificate, once the claim says how long one can last.
    fn issue(&mut self, owner: u64) {
        let Some(address) = self.api.members.get(&owner).copied() else { return };
        let claim = self.api.claims.get_mut(&address).filter(|claim| claim.owner == owner);
        let Some(claim) = claim.filter(|_| self.api.pods.values().any(|uid| *uid == owner)) else { return };
        if claim.lifetime < self.lifetime {
            self.made += 1;
            (claim.lifetime, claim.version) = (self.lifetime, self.made);
        }
        self.api.certificates.push(Certificate { address, owner, ends: self.now + self.lifetime });
    }

    fn begin_review(&mut self, operator: usize, index: usize) {
        let Some((address, claim)) = self.operators[operator].cache.claims.iter().nth(index) else {
            return;
        };
        let is_living = self.api.pods.values().any(|uid| *uid == claim.owner);
        let has_another = self.api.members.get(&claim.owner).is_some_and(|has| has != address);
        let owner = if is_living && !has_another { Owner::Present } else { Owner::Gone };
        let rules = Rules { confirm: CONFIRM, quarantine: rest(claim.lifetime, None) };
        let verdict = review(claim.phase, owner, self.now, rules);
        let job = Job::Apply { address: *address, version: claim.version, verdict };
        self.operators[operator].jobs.push_back(job);
    }

    fn request(&mut self, operator: usize, index: usize) {
        let operator = &mut self.operators[operator];
        let Some(mut job) = operator.jobs.remove(index) else {
            return;
        };
        let mut held = None;
        let is_done = match &mut job {
            Job::Apply { address, version, verdict } => {
                self.made += 1;
                self.api.apply(*address, *version, *verdict, self.now, self.made);
                true
            }
            Job::Claim { uid, claiming, taken } => {
                let step = taken
                    .take()
                    .map_or_else(|| claiming.next(|address| operator.cache.holder(address, *uid)), Step::Read);
                self.made += 1;
                match step {
                    Step::Create(address) if self.api.claims.contains_key(&address) => *taken = Some(address),
                    Step::Create(address) => {
                        let (phase, lifetime) = (Phase::Claimed, self.lifetime);
                        let claim = Claim { owner: *uid, phase, version: self.made, lifetime };
                        self.api.claims.insert(address, claim);
                        claiming.created(address);
                    }
                    Step::Read(address) => match self.api.claims.get(&address) {
                        Some(claim) => claiming.exists(address, &owner(claim.owner)),
                        None => claiming.missing(address),
                    },
                    Step::Held(address) => {
                        self.api.members.entry(*uid).or_insert(address);
                        held = Some(*uid);
                    }
                    Step::Exhausted => {}
                }
                matches!(step, Step::Held(_) | Step::Exhausted)
            }
        };
        if !is_done {
            operator.jobs.insert(index, job);
        }
        if let Some(uid) = held {
            self.issue(uid);
        }
    }

    /// The claim of every living member stands, and of every certificate that is good: nobody else can get its address.
    fn check(&self) -> Result<(), TestCaseError> {
        for uid in self.api.pods.values() {
            if let Some(address) = self.api.members.get(uid) {
                let owner = self.api.claims.get(address).map(|claim| claim.owner);
                prop_assert_eq!(owner, Some(*uid), "{} of {}: {:?}", address, uid, self.api);
            }
        }
        for certificate in self.api.certificates.iter().filter(|certificate| certificate.ends > self.now) {
            let owner = self.api.claims.get(&certificate.address).map(|claim| claim.owner);
            prop_assert_eq!(owner, Some(certificate.owner), "{:?}: {:?}", certificate, self.api);
        }
        Ok(())
    }
}

impl Operator {
    fn begin(&mut self, name: usize) {
        let Some(uid) = self.cache.pods.get(&name).copied().filter(|uid| !self.cache.members.contains_key(uid)) else {
            return;
        };
        let remembered = self.cache.claims.iter().find(|(_, claim)| claim.owner == uid).map(|(address, _)| *address);
        let pools = Pools::new(&["10.77.0.0/29".parse().unwrap()]);
        let claiming = Claiming::any(&pools, owner(uid), remembered);
        self.jobs.push_back(Job::Claim { uid, claiming, taken: None });
    }
}

impl Api {
    fn holder(&self, address: Ipv4Addr, uid: u64) -> Holder {
        match self.claims.get(&address) {
            None => Holder::Nobody,
            Some(claim) if claim.owner == uid => Holder::Owner,
            Some(_) => Holder::Other,
        }
    }

    /// Carries a verdict out, if the claim is still the version that it is about.
    fn apply(&mut self, address: Ipv4Addr, version: u64, verdict: Verdict, now: Duration, next: u64) {
        let Some(claim) = self.claims.get_mut(&address).filter(|claim| claim.version == version) else {
            return;
        };
        let phase = match (verdict, claim.phase) {
            (Verdict::Keep | Verdict::Wait { .. }, _) => return,
            (Verdict::Delete, _) => {
                self.claims.remove(&address);
                return;
            }
            (Verdict::Release, _) => Phase::Released { at: now },
            (Verdict::Quarantine, Phase::Released { at }) => Phase::Quarantined { at },
            (Verdict::Quarantine, phase) => phase,
            (Verdict::Restore, _) => Phase::Claimed,
        };
        (claim.phase, claim.version) = (phase, next);
    }
}

fn owner(uid: u64) -> AddressOwner {
    let (namespace, name) = ("default".into(), "pod".into());
    AddressOwner { kind: OwnerKind::Pod, namespace, name, uid: uid.to_string(), ordinal: None }
}

/// Pods at most; there are six addresses.
const NAMES: usize = 4;

const CONFIRM: Duration = Duration::from_secs(5);

/// Seconds that a certificate lasts are fewer.
const LONGEST: u64 = 40;
