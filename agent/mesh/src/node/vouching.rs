use std::time::{Duration, Instant};

use tunmesh_protocol::{Member, NodeId};

use super::{Departure, Event, MAX_MEMBERS, Node, Refusal};
use crate::agenda::{Timer, later};
use crate::peers::Peer;
use crate::vouched::Vouched;

/// Vouching: members whose signed records are alive in the gossip of our own agents.
///
/// For as long as a member is vouched for, nothing is due for it: no registration, no session, no silence threshold. When
/// the gossip gives it up, one registration decides within `VERIFY_LIMIT` whether it is gone or only out of reach of
/// datagrams; if it answers, it is kept as a member of the original protocol is.
impl Node {
    /// Takes a member whose record came up or changed.
    ///
    /// # Errors
    ///
    /// If somebody else holds what it claims. Nothing has changed then; once that member is gone, offer the record again.
    pub fn vouch(&mut self, member: Member, vouched: Vouched, now: Instant) -> Result<(), Refusal> {
        let address = member.address.address();
        if self.is_own(&member.id) {
            return Err(Refusal::ToSelf);
        }
        if self.has_address(address.into(), &member.id) {
            return Err(Refusal::AddressIsOurs);
        }
        if let Some(known) = self.peers.by_id(&member.id) {
            let before = known.member.address.address();
            if before != address {
                return Err(Refusal::AddressChanged { before, claimed: address });
            }
        }
        let rival = self.peers.other_at(&member.listen_url, &member.id);
        if let Some(rival) = rival {
            // Somebody who was started again comes back with its address; anybody else waits until the place is given up.
            let is_older = |other: &Vouched| other.started_at < vouched.started_at;
            let is_same = rival.member.address.address() == address;
            if rival.vouched.as_ref().is_some_and(|other| !is_same || !is_older(other)) {
                return Err(Refusal::PlaceTaken { owner: rival.member.id.clone() });
            }
        }
        let rival = rival.map(|rival| rival.member.id.clone());
        let owner = self.peers.by_address(address).filter(|owner| owner.member.id != member.id);
        let owner = owner.filter(|owner| Some(&owner.member.id) != rival.as_ref());
        if let Some(owner) = owner {
            let owned_since = owner.vouched.as_ref().map(|other| (other.started_at, &owner.member.id));
            if owned_since.is_none_or(|since| since <= (vouched.started_at, &member.id)) {
                let owner = owner.member.id.clone();
                self.hurry(&owner, now);
                return Err(Refusal::AddressTaken { owner });
            }
        }
        let owner = owner.map(|owner| owner.member.id.clone());
        if let Some(rival) = rival {
            self.depart(&rival, Departure::Replaced, now);
        }
        if let Some(owner) = owner {
            // Whoever this node heard of first, all nodes must agree: the one that started first has it.
            self.depart(&owner, Departure::AddressVacated, now);
        }
        if !self.peers.contains(&member.id) {
            if self.peers.len() >= MAX_MEMBERS {
                return Err(Refusal::Full);
            }
            self.events.push_back(Event::MemberJoined { member: member.clone() });
            self.peers.insert(Peer::new(member.clone(), 0, now));
            self.touch_routes();
        }
        self.take_record(member, vouched, now);
        Ok(())
    }

    fn take_record(&mut self, member: Member, vouched: Vouched, now: Instant) {
        let id = member.id.clone();
        if self.peers.by_id(&id).is_some_and(|peer| peer.member != member) {
            self.peers.redescribe(member);
            self.touch_routes();
        }
        let Some(peer) = self.peers.by_id_mut(&id) else {
            return;
        };
        peer.heard_at = now;
        if peer.vouched.as_ref() != Some(&vouched) {
            peer.vouched = Some(vouched);
            self.touch_routes();
        }
        self.agenda.clear(&Timer::Stale(id.clone()));
        if !self.peers.by_id(&id).is_some_and(|peer| peer.registration.under_way) {
            self.agenda.clear(&Timer::Register(id));
        }
    }

    /// Takes note that the gossip no longer vouches for the member `id`: because it took leave, or because it is silent.
    pub fn unvouch(&mut self, id: &NodeId, left: bool, now: Instant) {
        if left {
            return self.depart(id, Departure::Left, now);
        }
        let Some(peer) = self.peers.by_id_mut(id) else {
            return;
        };
        if peer.vouched.take().is_none() {
            return;
        }
        self.touch_routes();
        let timers = self.peers.by_id(id).map(|peer| self.timers(&peer.member).stale_threshold);
        let limit = timers.unwrap_or_default().min(VERIFY_LIMIT);
        self.agenda.set(Timer::Stale(id.clone()), later(now, limit));
        self.hurry(id, now);
    }

    /// Opens a session to a member that has none; for members that are vouched for, which get none unasked.
    pub fn handle_session_wanted(&mut self, id: &NodeId, now: Instant) {
        let wanted = |peer: &Peer| peer.session.opened_at.is_none() && !peer.session.opening;
        if self.peers.by_id(id).is_some_and(wanted) && self.agenda.due(&Timer::Session(id.clone())).is_none() {
            self.session_due(id, now);
        }
    }

    /// Whether the gossip vouches for the member.
    pub(super) fn is_vouched(&self, id: &NodeId) -> bool {
        self.peers.by_id(id).is_some_and(|peer| peer.vouched.is_some())
    }
}

/// Time in which a member that the gossip gave up must answer a registration.
const VERIFY_LIMIT: Duration = Duration::from_millis(1500);
