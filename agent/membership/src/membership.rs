mod gossip;
mod own;
mod probing;
mod receive;
mod sync;
mod verdict;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use tunmesh_protocol::NodeId;

use crate::agenda::{Agenda, Timer};
use crate::event::{Counters, Event, Health};
use crate::identity::Identity;
use crate::keys::KeyRing;
use crate::member_key::MemberKey;
use crate::news::News;
use crate::nonce::Nonces;
use crate::random::Random;
use crate::record::{Record, RecordDraft, RecordError};
use crate::replay::Replay;
use crate::settings::{Now, Settings, Timers};
use crate::table::{Member, State, Table};

use self::probing::{Probe, Relay};

/// One node's view of who is in the mesh.
///
/// It does nothing by itself. Its owner
///
/// 1. hands in every datagram that came ([`handle_datagram`](Self::handle_datagram)) and calls
///    [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) has passed;
/// 2. after every call sends what [`poll_transmit`](Self::poll_transmit) returns and heeds what
///    [`poll_event`](Self::poll_event) returns, until both return nothing.
///
/// Times handed in must not run backwards.
pub struct Membership {
    timers: Timers,
    max_members: usize,
    max_clock_skew_micros: u64,
    key: MemberKey,
    draft: RecordDraft,
    identity: Box<dyn Identity>,
    keys: KeyRing,
    nonces: Nonces,
    random: Random,
    replay: Replay,
    table: Table,
    news: News,
    agenda: Agenda,
    probes: Vec<Probe>,
    relays: Vec<Relay>,
    /// How often in a row this node had reason to doubt itself (Lifeguard, section IV.A): it then waits longer for answers.
    strain: u32,
    /// The stamp of the last datagram.
    last_stamp: u64,
    /// When the last round of gossip was, and whether the next one is on the agenda.
    gossiped_at: Option<Instant>,
    gossip_due: bool,
    /// Who was asked lately to be reachable for: the next on the ring.
    helpers: Vec<MemberKey>,
    /// When it last compared with a member that just came.
    welcomed_at: Option<Instant>,
    /// Records to be sent to whom, and whether with the record or only with what is wrong with it.
    pushes: BTreeSet<(SocketAddr, MemberKey, bool)>,
    left: bool,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Membership {
    /// A node that knows nobody.
    ///
    /// `seed` is 32 fresh random bytes: with one that was used before, nonces repeat and the sealing is worth nothing.
    ///
    /// # Errors
    ///
    /// When the draft in `settings` does not fit into a record.
    pub fn new(
        settings: Settings,
        keys: KeyRing,
        identity: Box<dyn Identity>,
        seed: [u8; 32],
        now: Now,
    ) -> Result<Self, RecordError> {
        let started = now.unix_millis();
        let record = settings.own.record(started, started, keys.ids())?;
        let key = MemberKey::of(&record.id);
        let signed = own::sign(identity.as_ref(), &record)?;
        let mut random = Random::new(&seed);
        let mut membership = Self {
            timers: settings.timers,
            max_members: settings.max_members,
            max_clock_skew_micros: u64::try_from(settings.max_clock_skew.as_micros()).unwrap_or(u64::MAX),
            key,
            draft: settings.own,
            identity,
            keys,
            nonces: Nonces::new(&mut random),
            random,
            replay: Replay::new(settings.max_clock_skew, settings.max_members),
            table: Table::new(key, Member::new(Arc::new(record), signed, State::Alive)),
            news: News::default(),
            agenda: Agenda::default(),
            probes: Vec::new(),
            relays: Vec::new(),
            strain: 0,
            last_stamp: 0,
            gossiped_at: None,
            gossip_due: false,
            helpers: Vec::new(),
            welcomed_at: None,
            pushes: BTreeSet::new(),
            left: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        };
        membership.start_timers(now.instant);
        Ok(membership)
    }

    /// Does all that is due. Calling it early or twice does no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.agenda.pop_due(now.instant) {
            match timer {
                Timer::Gossip => self.gossip_due(now),
                Timer::Probe => self.probe_due(now),
                Timer::ProbeLate(nonce) => self.probe_late(nonce, now),
                Timer::ProbeOver(nonce) => self.probe_over(nonce, now),
                Timer::Push => self.push_due(now),
                Timer::Rejoin => self.rejoin_due(now),
                Timer::RelayOver(nonce) => self.relay_over(nonce, now),
                Timer::Suspicion(key) => self.suspicion_due(key, now),
                Timer::Sweep => self.sweep_due(now),
                Timer::Sync => self.sync_due(now),
            }
        }
        self.meet_helpers(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. Any other call may change it.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.agenda.next()
    }

    /// The next datagram to send, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The others that are alive or suspect, in no order that means anything.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.table.live().iter().filter_map(|key| self.table.get(*key)).map(|member| &member.record)
    }

    /// How many [`members`](Self::members) there are.
    pub fn len(&self) -> usize {
        self.table.live().len()
    }

    /// Whether nobody else is known to be there.
    pub fn is_empty(&self) -> bool {
        self.table.live().is_empty()
    }

    /// What this node wants said of itself.
    pub fn draft(&self) -> &RecordDraft {
        &self.draft
    }

    /// What this node says of itself.
    pub fn own(&self) -> &Arc<Record> {
        &self.table.own().record
    }

    /// The record of a member that is alive or suspect.
    pub fn get(&self, id: &NodeId) -> Option<&Arc<Record>> {
        self.member(id).filter(|member| member.state.is_live()).map(|member| &member.record)
    }

    /// How a member is; nothing if it is not known or down.
    pub fn health(&self, id: &NodeId) -> Option<Health> {
        match self.member(id)?.state {
            State::Alive => Some(Health::Alive),
            State::Down { .. } => None,
            State::Suspect { .. } => Some(Health::Suspect),
        }
    }

    /// Where the latest datagram of a member came from: its address outside of its NAT, if it is behind one.
    pub fn seen_at(&self, id: &NodeId) -> Option<SocketAddr> {
        self.member(id)?.seen_at
    }

    /// Who is to have `address`, which must be listed exactly so, of all that claim it, this node included: the one that
    /// started first, then the one with the smaller id. All nodes with the same view agree.
    pub fn owner_of(&self, address: IpNet) -> Option<&Arc<Record>> {
        self.claimants_of(address).first().copied()
    }

    /// All that claim `address`, in the order of [`owner_of`](Self::owner_of).
    pub fn claimants_of(&self, address: IpNet) -> Vec<&Arc<Record>> {
        self.table.owners(&address.trunc())
    }

    /// What happened so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn member(&self, id: &NodeId) -> Option<&Member> {
        self.table.get(MemberKey::of(id)).filter(|member| member.record.id == *id)
    }

    /// Sets the recurring timers, each at a random point of its interval, so that nodes started together do not act together.
    fn start_timers(&mut self, now: Instant) {
        let recurring = [
            (Timer::Probe, self.timers.probe_interval),
            (Timer::Sync, self.timers.sync_interval),
            (Timer::Rejoin, self.timers.rejoin_interval),
            (Timer::Sweep, SWEEP_INTERVAL),
        ];
        for (timer, interval) in recurring {
            let part = u32::try_from(self.random.below(1024)).unwrap_or_default();
            self.agenda.set(timer, now + interval / 1024 * part);
        }
    }

    /// Forgets old senders, and members that are down for long.
    fn sweep_due(&mut self, now: Now) {
        self.agenda.set(Timer::Sweep, now.instant + SWEEP_INTERVAL);
        self.replay.sweep(now.instant);
        let is_old = |state: &State| {
            matches!(state, State::Down { since, .. }
                if now.instant.saturating_duration_since(*since) >= self.timers.forget_after)
        };
        let old: Vec<_> = self.table.iter().filter(|(_, member)| is_old(&member.state)).map(|(key, _)| key).collect();
        for key in old {
            self.table.forget(key);
            self.news.remove(key);
        }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership")
            .field("own", self.own())
            .field("members", &self.len())
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// How often what is too old is forgotten.
const SWEEP_INTERVAL: std::time::Duration = std::time::Duration::from_secs(30);

#[cfg(test)]
mod tests;
