use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use tunmesh_protocol::{Member, NodeId, Registration};

use super::{Departure, Event, MAX_MEMBERS, Node, Order, spread};
use crate::agenda::{Timer, later};
use crate::peers::Peer;

/// Admission: who is taken as a member, whose address it is, and who is a member no more.
///
/// Alive is who registers here or answers our registration with a verified one of its own; the time counts from our
/// receipt. (The original goes by the sender's clock, so that a peer whose clock is wrong is stale at once.)
impl Node {
    /// Looks at a registration that came in and says what has to be found out before it may be accepted.
    ///
    /// `issuer` is the `iss` of the token where that names the sender, on the route of the cluster token; `route` is the id
    /// in the path of the session route.
    ///
    /// # Errors
    ///
    /// The first of the variants of [`Refusal`] that applies, in the order they are listed there.
    pub fn screen(
        &self,
        registration: &Registration,
        issuer: Option<&NodeId>,
        route: Option<&NodeId>,
    ) -> Result<Screening, Refusal> {
        let claimed = &registration.local.id;
        if self.is_own(claimed) {
            return Err(Refusal::ToSelf);
        }
        if [issuer, route].into_iter().flatten().any(|id| id != claimed) {
            return Err(Refusal::IdMismatch);
        }
        self.examine(&registration.local)
    }

    /// Stores the sender of a registration that came in, and goes to meet those it knows and we do not.
    ///
    /// `proof` is what was found out. The registration is judged again, as others may have come in between.
    ///
    /// # Errors
    ///
    /// As [`screen`](Self::screen); also if something had to be found out and was not. Then nothing has changed.
    pub fn accept(&mut self, registration: &Registration, proof: Proof, now: Instant) -> Result<(), Refusal> {
        let screening = self.screen(registration, None, None)?;
        if screening.callback && !proof.called_back {
            return Err(Refusal::Unproven);
        }
        if let Some(contested) = screening.contested {
            if proof.vacated.as_ref() != Some(&contested) {
                return Err(Refusal::AddressTaken { owner: contested.owner.id });
            }
            self.depart(&contested.owner.id, Departure::AddressVacated, now);
        }
        self.store(registration, now);
        if proof.tells_more && !self.is_vouched(&registration.local.id) {
            self.hurry(&registration.local.id, now);
        }
        Ok(())
    }

    /// Judges a member by itself, whoever vouches for it.
    pub(super) fn examine(&self, claimant: &Member) -> Result<Screening, Refusal> {
        let address = claimant.address.address();
        if self.is_own(&claimant.id) {
            return Err(Refusal::ToSelf);
        }
        if self.has_address(address.into(), &claimant.id) {
            return Err(Refusal::AddressIsOurs);
        }
        if let Some(known) = self.peers.by_id(&claimant.id) {
            let before = known.member.address.address();
            if before != address {
                return Err(Refusal::AddressChanged { before, claimed: address });
            }
            let callback = !known.member.listen_url.same_place(&claimant.listen_url);
            return Ok(Screening { callback, contested: None });
        }
        let replaces =
            self.peers.other_at(&claimant.listen_url, &claimant.id).or_else(|| self.peers.by_address(address));
        if self.peers.len() >= MAX_MEMBERS && replaces.is_none() {
            return Err(Refusal::Full);
        }
        let owner =
            self.peers.by_address(address).filter(|owner| !owner.member.listen_url.same_place(&claimant.listen_url));
        let contested = owner.map(|owner| Contested { owner: owner.member.clone(), heard_at: owner.heard_at });
        Ok(Screening { callback: true, contested })
    }

    /// Stores a member that passed [`examine`](Self::examine) and met its demands, and learns from its list.
    pub(super) fn store(&mut self, registration: &Registration, now: Instant) {
        let member = &registration.local;
        let replaced = self.peers.other_at(&member.listen_url, &member.id).map(|peer| peer.member.id.clone());
        if let Some(replaced) = &replaced {
            self.depart(replaced, Departure::Replaced, now);
        }
        match self.peers.by_id(&member.id) {
            Some(known) if known.member == *member => {}
            Some(_) => {
                self.peers.redescribe(member.clone());
                self.touch_routes();
            }
            None => self.join(registration, now),
        }
        self.heard(&member.id, registration.stamp, now);
        if let Some(further) = &registration.further {
            self.take_further(&member.id, further);
        }
        self.learn(&registration.remote, now);
    }

    /// Adds a new member, to which a session is opened at once. It knows of us already, so our own registration can wait,
    /// but not equally long for all members, lest they all come at the same moment.
    fn join(&mut self, registration: &Registration, now: Instant) {
        let member = registration.local.clone();
        let interval = self.reregistration_interval(&member);
        let first = interval / 2 + spread(interval / 2, &self.settings.local.id, member.id.as_str());
        self.agenda.set(Timer::Register(member.id.clone()), later(now, first));
        self.agenda.set(Timer::Session(member.id.clone()), now);
        self.events.push_back(Event::MemberJoined { member: member.clone() });
        self.peers.insert(Peer::new(member.clone(), registration.stamp, now));
        self.touch_routes();
        self.session_due(&member.id, now);
    }

    /// Removes a member and all that was planned for it.
    pub(super) fn depart(&mut self, id: &NodeId, reason: Departure, now: Instant) {
        let Some(peer) = self.peers.remove(id) else {
            return;
        };
        for timer in [Timer::Register(id.clone()), Timer::Session(id.clone()), Timer::Stale(id.clone())] {
            self.agenda.clear(&timer);
        }
        self.orders.retain(|order| match order {
            Order::Register(target) | Order::OpenSession { id: target, .. } => target != id,
            Order::Meet(_) => true,
        });
        self.touch_routes();
        self.lost(&peer.member, now);
        self.events.push_back(Event::MemberLeft { member: peer.member, reason });
    }

    /// Takes note of what a member says of itself beside a registration.
    fn take_further(&mut self, id: &NodeId, further: &[IpAddr]) {
        if let Some(peer) = self.peers.by_id_mut(id)
            && peer.told.addresses != further
        {
            peer.told.addresses = further.to_vec();
            self.touch_routes();
        }
    }

    /// Takes note of a sign of life.
    pub(super) fn heard(&mut self, id: &NodeId, stamp: i64, now: Instant) {
        if let Some(peer) = self.peers.by_id_mut(id) {
            peer.heard_at = now;
            peer.stamp = stamp;
            self.watch(id);
        }
    }

    /// Plans the removal of a member that stays silent.
    pub(super) fn watch(&mut self, id: &NodeId) {
        if let Some(peer) = self.peers.by_id(id).filter(|peer| peer.vouched.is_none()) {
            let at = later(peer.heard_at, self.timers(&peer.member).stale_threshold);
            self.agenda.set(Timer::Stale(id.clone()), at);
        }
    }
}

/// What has to be found out before a registration may be accepted; nothing, if neither is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screening {
    /// The node_info at the registrant's `listen_url` must have its id: the id or that URL is new to us.
    pub callback: bool,
    /// A known member has the same address at another URL. Its `listen_url` must be asked for its node_info: if its id is
    /// still there, the registration is refused with [`Refusal::AddressTaken`]; if not, this value is the proof.
    pub contested: Option<Contested>,
}

/// A claim to an address that a known member has.
///
/// As a proof it is worth nothing any more once that member has been heard of again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contested {
    /// The member that has the address.
    pub owner: Member,
    heard_at: Instant,
}

/// What was found out about a registrant.
///
/// Node ids are made anew at each start: a node that was started again has another id, the same address and mostly the
/// same URL. Answering at the URL of the owner of an address is proof enough that the owner is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The node_info at the registrant's `listen_url` has its id.
    pub called_back: bool,
    /// The owner named here did not answer under its id any more.
    pub vacated: Option<Contested>,
    /// It answers registrations with more than it may say in its own ([`Registration::further`]): a reason to register at it
    /// soon, unless the gossip vouches for it.
    pub tells_more: bool,
}

/// Why a registration is not accepted, in the order of the checks, the first two as in the original.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It names our own id as the sender's, or that of a device of ours (status 421).
    #[error("registration to self")]
    ToSelf,
    /// The id of the sender is not the one in the token or the path (status 400).
    #[error("the id of the sender and the one that vouches for it differ")]
    IdMismatch,
    /// The sender has our own address, or that of a device of ours. The original accepts that.
    #[error("the address of the sender is ours")]
    AddressIsOurs,
    /// A known id has another address than before (status 500 from the original).
    #[error("the address of a known node changed from {before} to {claimed}")]
    AddressChanged {
        /// The address it had.
        before: Ipv4Addr,
        /// The one it claims now.
        claimed: Ipv4Addr,
    },
    /// As many members are known as there may be.
    #[error("{MAX_MEMBERS} members are known already")]
    Full,
    /// The id or URL is new and nobody called back.
    #[error("nothing proves that the sender is where it says")]
    Unproven,
    /// Another live member has the address. The original lets the newcomer have it.
    #[error("the address of the sender belongs to {owner}")]
    AddressTaken {
        /// The member that has it.
        owner: NodeId,
    },
    /// A member that was started later answers at that control URL.
    #[error("the control URL of the sender belongs to {owner}, which was started later")]
    PlaceTaken {
        /// The member that has it.
        owner: NodeId,
    },
}
