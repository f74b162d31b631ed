mod inbound;
mod load;
mod outbound;
mod peer;
mod report;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cookie::CookieSecret;
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::mac::LabelKey;
use crate::random::Random;
use crate::session::{PeerId, Role};
use crate::suite::Suite;
use crate::timers::Timers;

use self::load::Load;
use self::peer::{Due, Peer, Slot, Stamps};
pub use self::report::{Event, PeerStatus, Refusal, Target, Transmit};

/// One node towards all its peers: makes handshakes, replaces sessions in time, ends them.
///
/// It does nothing by itself. Its owner
///
/// 1. reports what happened: [`connect`](Self::connect) when a packet wants to go to a peer without a session,
///    [`handle_datagram`](Self::handle_datagram) for messages other than transport,
///    [`session_confirmed`](Self::session_confirmed) when [`Opened::confirms`](crate::Opened) is set, and
///    [`handle_timeout`](Self::handle_timeout);
/// 2. after each of them sends what [`poll_transmit`](Self::poll_transmit) returns until it returns nothing, and likewise
///    heeds [`poll_event`](Self::poll_event);
/// 3. waits until something happens or [`poll_timeout`](Self::poll_timeout) has passed.
///
/// A peer has at most three sessions: the current one, on which it is sent to; the one before, for packets still under way;
/// and one that the peer asked for and has not used yet. Times handed in must not run backwards.
pub struct Endpoint {
    private: PrivateKey,
    public: PublicKey,
    /// Keys of mac1 in messages to us.
    mac1_keys: [(Suite, LabelKey); Suite::ALL.len()],
    /// Key under which our cookies are sealed.
    cookie_key: LabelKey,
    epoch: Instant,
    timers: Timers,
    random: Random,
    peers: BTreeMap<PeerId, Peer>,
    by_key: BTreeMap<PublicKey, PeerId>,
    /// Those removed last, [`MAX_REMOVED`] at most.
    removed: VecDeque<(PublicKey, Stamps)>,
    /// Whose the local indices of sessions and handshakes are.
    indices: BTreeMap<u32, PeerId>,
    /// When to look at which peer; each stands here at most once, with its `deadline`.
    deadlines: BTreeSet<(Instant, PeerId)>,
    load: Load,
    cookie_secret: CookieSecret,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Endpoint {
    /// A node with the key `private` that knows no peer.
    ///
    /// No time handed in later may be before `epoch`. `seed` is 32 random bytes that nobody else knows and that are used
    /// once; every ephemeral key follows from it.
    pub fn new(private: PrivateKey, epoch: Instant, seed: [u8; 32]) -> Self {
        Self::with_timers(private, epoch, seed, Timers::default())
    }

    /// As [`new`](Self::new), with other time constants.
    pub fn with_timers(private: PrivateKey, epoch: Instant, seed: [u8; 32], timers: Timers) -> Self {
        let public = private.public_key();
        Self {
            private,
            public,
            mac1_keys: Suite::ALL.map(|suite| (suite, LabelKey::mac1(suite, &public))),
            cookie_key: LabelKey::cookie(&public),
            epoch,
            timers,
            random: Random::new(seed),
            peers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            removed: VecDeque::new(),
            indices: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            load: Load::new(epoch),
            cookie_secret: CookieSecret::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Who this node is.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Makes a peer known under `id`. With a keepalive, a handshake is due at once.
    ///
    /// # Errors
    /// [`PeerError`]; nothing has changed then.
    pub fn insert_peer(&mut self, id: PeerId, settings: PeerSettings) -> Result<(), PeerError> {
        if self.peers.contains_key(&id) {
            return Err(PeerError::IdTaken);
        }
        self.check_key(id, &settings)?;
        self.by_key.insert(settings.public_key, id);
        let known = self.removed.iter().position(|(key, _)| *key == settings.public_key);
        let stamps = known.and_then(|index| self.removed.remove(index)).map(|(_, stamps)| stamps);
        self.peers.insert(id, Peer::new(settings, stamps.unwrap_or_default(), self.epoch));
        self.schedule(id, self.epoch);
        Ok(())
    }

    /// Gives the peer `id` new settings. Its sessions stay unless its key or its suite changes; a preshared key counts from
    /// the next handshake message on.
    ///
    /// # Errors
    /// [`PeerError`]; nothing has changed then.
    pub fn update_peer(&mut self, id: PeerId, settings: PeerSettings) -> Result<(), PeerError> {
        let before = &self.peers.get(&id).ok_or(PeerError::IdUnknown)?.settings;
        let same = before.public_key == settings.public_key && before.suite == settings.suite;
        self.check_key(id, &settings)?;
        if !same {
            self.remove_peer(id);
            return self.insert_peer(id, settings);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.settings = settings;
        }
        self.schedule(id, self.epoch);
        Ok(())
    }

    /// Forgets the peer `id`, ends its sessions and any handshake with it.
    pub fn remove_peer(&mut self, id: PeerId) {
        let Some(mut peer) = self.peers.remove(&id) else { return };
        self.by_key.remove(&peer.settings.public_key);
        if self.removed.len() >= MAX_REMOVED {
            self.removed.pop_front();
        }
        self.removed.push_back((peer.settings.public_key, peer.stamps));
        if let Some(deadline) = peer.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        if let Some(index) = peer.attempt.take().and_then(|attempt| attempt.index()) {
            self.indices.remove(&index);
        }
        for slot in [peer.previous.take(), peer.current.take(), peer.next.take()].into_iter().flatten() {
            self.retire(id, &slot);
        }
        self.transmits.retain(|transmit| transmit.to != Target::Peer(id));
    }

    /// Starts a handshake with the peer `id`, unless it has a session to send on or a handshake is under way.
    ///
    /// [`Event::Sendable`] or [`Event::Unreachable`] follows.
    pub fn connect(&mut self, id: PeerId, now: Now) {
        let lacks = |peer: &Peer| peer.current.as_ref().is_none_or(|current| current.session.is_worn());
        if self.peers.get(&id).is_some_and(|peer| lacks(peer) && peer.attempt.is_none()) {
            self.start_attempt(id, now);
            self.schedule(id, now.instant);
        }
    }

    /// Takes note that the peer `id` used the session with `local_index`, which makes it the current one. Other sessions
    /// and calls too many do no harm.
    pub fn session_confirmed(&mut self, id: PeerId, local_index: u32, now: Instant) {
        let is_next = |slot: &Slot| slot.session.local_index() == local_index && slot.session.is_confirmed();
        if self.peers.get(&id).is_some_and(|peer| peer.next.as_ref().is_some_and(is_next)) {
            self.promote(id, now);
            self.schedule(id, now);
        }
    }

    /// Does all that is due by `now`. Calling it early or twice does no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((at, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now.instant) {
            self.deadlines.remove(&(at, id));
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.deadline = None;
                self.look_at(id, now);
                self.schedule(id, now.instant);
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. Any other call may change it, traffic does not.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What is known of the peer `id`.
    pub fn status(&self, id: PeerId) -> Option<PeerStatus> {
        self.peers.get(&id).map(Peer::status)
    }

    fn check_key(&self, id: PeerId, settings: &PeerSettings) -> Result<(), PeerError> {
        if settings.public_key == self.public {
            return Err(PeerError::OwnKey);
        }
        if self.by_key.get(&settings.public_key).is_some_and(|owner| *owner != id) {
            return Err(PeerError::KeyTaken);
        }
        Ok(())
    }

    /// Does what is due for the peer `id`.
    fn look_at(&mut self, id: PeerId, now: Now) {
        while let Some(due) = self.peers.get(&id).and_then(|peer| peer.due(now.instant, &self.timers)) {
            match due {
                Due::Expire => self.expire_sessions(id, now.instant),
                Due::GiveUp => self.give_up(id),
                Due::Keepalive => self.keep_alive(id, now.instant),
                Due::Promote => self.promote(id, now.instant),
                Due::Retry => self.send_initiation(id, now),
                Due::Start => self.start_attempt(id, now),
            }
        }
    }

    /// Sets when to look at the peer `id` next.
    fn schedule(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let deadline = peer.next_look(now, &self.timers);
        if peer.deadline != deadline {
            if let Some(before) = std::mem::replace(&mut peer.deadline, deadline) {
                self.deadlines.remove(&(before, id));
            }
            self.deadlines.extend(deadline.map(|at| (at, id)));
        }
    }

    /// Makes the session that the peer asked for, and uses, the current one.
    fn promote(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(next) = peer.next.take() else { return };
        let session = Arc::clone(&next.session);
        let retired = std::mem::replace(&mut peer.previous, peer.current.replace(next));
        let abandoned = peer.handshake_done(now);
        self.forget_index(abandoned);
        self.events.push_back(Event::Sendable { peer: id, session });
        if let Some(slot) = retired {
            self.retire(id, &slot);
        }
    }

    fn expire_sessions(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for slot in peer.take_expired(now, &self.timers) {
            self.retire(id, &slot);
        }
    }

    fn keep_alive(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(current) = &peer.current {
            peer.activity.note_sent(now, false);
            self.events.push_back(Event::Keepalive { peer: id, session: Arc::clone(&current.session) });
        }
    }

    /// Ends a session that is in none of the places of its peer any more.
    fn retire(&mut self, id: PeerId, slot: &Slot) {
        slot.session.expire();
        let local_index = slot.session.local_index();
        self.forget_index(Some(local_index));
        self.events.push_back(Event::Retired { peer: id, local_index });
    }

    fn forget_index(&mut self, index: Option<u32>) {
        if let Some(index) = index {
            self.indices.remove(&index);
        }
    }

    /// A local index that nobody has, from now on that of the peer `id`.
    fn allocate_index(&mut self, id: PeerId) -> u32 {
        loop {
            let index = self.random.index();
            if let std::collections::btree_map::Entry::Vacant(vacant) = self.indices.entry(index) {
                vacant.insert(id);
                return index;
            }
        }
    }

    /// How long a new session lives before it is replaced, with a random addition, so that two ends that started it at once
    /// do not do so again.
    fn rekey_after(&mut self) -> Duration {
        self.timers.rekey_after_time + self.jitter()
    }

    fn jitter(&mut self) -> Duration {
        self.timers.jitter().mul_f64(f64::from(self.random.index()) / f64::from(u32::MAX))
    }
}

/// What is agreed with a peer beforehand.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// Who it is. No two peers have the same.
    pub public_key: PublicKey,
    /// A secret beside the keys, the same at both ends.
    pub preshared_key: Option<PresharedKey>,
    /// The cryptography, the same at both ends.
    pub suite: Suite,
    /// Longest silence towards the peer, for address translators between; with it there is always a session, without it
    /// only while there is traffic. Less than a second counts as one.
    pub keepalive: Option<Duration>,
}

/// One moment on two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For timers; does not run backwards.
    pub instant: Instant,
    /// Time since 1970-01-01 00:00 UTC, for the timestamps that keep initiations from being replayed.
    pub unix: Duration,
}

/// Why a peer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// A peer has this id already.
    #[error("a peer has this id already")]
    IdTaken,
    /// No peer has this id.
    #[error("no peer has this id")]
    IdUnknown,
    /// Another peer has this public key.
    #[error("another peer has this public key")]
    KeyTaken,
    /// It is the public key of this node.
    #[error("the public key is that of this node")]
    OwnKey,
}

/// Peers removed whose initiations are still told from captured ones: as many as a mesh may have, 56 bytes each.
const MAX_REMOVED: usize = 10_000;
