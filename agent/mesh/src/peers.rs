use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use tunmesh_protocol::{ControlUrl, Member, NodeId};

use crate::place::Place;
use crate::vouched::Vouched;

/// The members known here. No two share an id, an address or the place of their control URL.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    by_id: BTreeMap<NodeId, Peer>,
    by_address: BTreeMap<Ipv4Addr, NodeId>,
    by_place: BTreeMap<Place, NodeId>,
}

/// What is known of one member.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) member: Member,
    /// The member's clock when it last said anything, in Unix seconds.
    pub(crate) stamp: i64,
    /// When it last proved to be alive, by our clock.
    pub(crate) heard_at: Instant,
    pub(crate) registration: Registering,
    pub(crate) session: Session,
    /// What its signed record says, while the gossip vouches for it.
    pub(crate) vouched: Option<Vouched>,
    /// What it says beside its registrations; counts while the gossip does not vouch for it.
    pub(crate) told: Vouched,
}

/// Our registrations to one member.
#[derive(Debug, Default)]
pub(crate) struct Registering {
    pub(crate) under_way: bool,
    pub(crate) attempted_at: Option<Instant>,
    /// Failures in a row.
    pub(crate) failures: u32,
}

/// The session in which we send to one member.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) opened_at: Option<Instant>,
    /// Whether an attempt to open or replace it is under way.
    pub(crate) opening: bool,
    /// Attempts in a row that failed.
    pub(crate) failures: u32,
    /// Sessions in a row that were lost soon after they had been opened.
    pub(crate) losses: u32,
}

impl Peer {
    pub(crate) fn new(member: Member, stamp: i64, now: Instant) -> Self {
        Self {
            member,
            stamp,
            heard_at: now,
            registration: Registering::default(),
            session: Session::default(),
            vouched: None,
            told: Vouched::default(),
        }
    }
}

impl Peers {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn contains(&self, id: &NodeId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(crate) fn by_id(&self, id: &NodeId) -> Option<&Peer> {
        self.by_id.get(id)
    }

    /// The member to be changed in anything but its description; see [`Peers::redescribe`].
    pub(crate) fn by_id_mut(&mut self, id: &NodeId) -> Option<&mut Peer> {
        self.by_id.get_mut(id)
    }

    pub(crate) fn by_address(&self, address: Ipv4Addr) -> Option<&Peer> {
        self.by_id.get(self.by_address.get(&address)?)
    }

    pub(crate) fn by_place(&self, place: &Place) -> Option<&Peer> {
        self.by_id.get(self.by_place.get(place)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.by_id.values()
    }

    /// Owners of addresses, in the order of the addresses.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (Ipv4Addr, &NodeId)> {
        self.by_address.iter().map(|(address, id)| (*address, id))
    }

    /// Adds a member whose id, address and place are free.
    pub(crate) fn insert(&mut self, peer: Peer) {
        let id = peer.member.id.clone();
        self.by_address.insert(peer.member.address.address(), id.clone());
        self.by_place.insert(Place::of(&peer.member.listen_url), id.clone());
        let before = self.by_id.insert(id, peer);
        debug_assert!(before.is_none(), "a known member is redescribed, not inserted");
    }

    pub(crate) fn remove(&mut self, id: &NodeId) -> Option<Peer> {
        let peer = self.by_id.remove(id)?;
        self.by_address.remove(&peer.member.address.address());
        self.by_place.remove(&Place::of(&peer.member.listen_url));
        Some(peer)
    }

    /// Replaces the description of a known member; the new address and place are its own or free.
    pub(crate) fn redescribe(&mut self, member: Member) {
        let Some(mut peer) = self.remove(&member.id) else {
            return;
        };
        peer.member = member;
        self.insert(peer);
    }

    /// The member that owns the place of `url`, unless it is `id`.
    pub(crate) fn other_at(&self, url: &ControlUrl, id: &NodeId) -> Option<&Peer> {
        self.by_place(&Place::of(url)).filter(|peer| peer.member.id != *id)
    }
}
