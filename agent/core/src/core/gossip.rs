use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use tunmesh_membership::{Event, Identity, KeyRing, Membership, Now, Record, RecordDraft};
use tunmesh_protocol::{NodeId, Secret};

use super::Core;
use crate::output::{Note, Output};
use crate::record::member_of;

/// From the gossip to the node: members that are vouched for, and those that are no more.
impl Core {
    pub(super) fn heed_gossip(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(event) = self.membership.as_mut().and_then(Membership::poll_event) {
            any = true;
            match event {
                Event::Up(record) | Event::Changed(record) => self.offer(&record, now),
                Event::Down { id, left } => {
                    self.waiting.remove(&id);
                    self.node.unvouch(&id, left, now);
                    self.unseal(&id, now);
                    self.offer_waiting(now);
                }
                Event::Contested { address, holder, claimant } => {
                    let (holder, claimant) = (holder.id.clone(), claimant.id.clone());
                    self.note(Note::Contested { address, holder, claimant });
                }
            }
        }
        any
    }

    /// Offers a record to the node, that of a member included: the gossip may vouch for who came by a registration.
    pub(super) fn offer(&mut self, record: &Arc<Record>, now: Instant) {
        let known = self.node.member(&record.id);
        let was_vouched = known.is_some_and(|view| view.vouched.is_some());
        let known = known.map(|view| view.member);
        let Some((member, vouched)) = member_of(record, known, &self.node.settings().local) else {
            return self.note(Note::NoAddress(record.id.clone()));
        };
        if self.is_superseded(record) {
            return self.note_waiting(&record.id);
        }
        match self.node.vouch(member, vouched, now) {
            Ok(()) => {
                self.waiting.remove(&record.id);
                self.seal_with(record, now);
                if !was_vouched {
                    self.offer_rivals(record, now);
                }
            }
            Err(refusal) => {
                self.note(Note::NotAccepted(record.id.clone(), refusal));
                self.note_waiting(&record.id);
            }
        }
    }

    /// Whether the same machine was started again since with the same address. What is left of the one before must not win
    /// the address back meanwhile, as the one that started first.
    fn is_superseded(&self, record: &Record) -> bool {
        let (Some(membership), Some(address)) = (&self.membership, record.addresses.first()) else {
            return false;
        };
        let mut others = membership.claimants_of(*address).into_iter();
        others.any(|other| other.url.same_place(&record.url) && other.started > record.started)
    }

    /// Takes note that the node does not have a member, which the gossip may vouch for.
    pub(super) fn note_waiting(&mut self, id: &NodeId) {
        let is_vouched = self.membership.as_ref().is_some_and(|membership| membership.get(id).is_some());
        if is_vouched && self.node.member(id).is_none() {
            self.waiting.insert(id.clone());
        }
    }

    /// Offers records again that the node refused, since somebody left.
    pub(super) fn offer_waiting(&mut self, now: Instant) {
        for id in self.waiting.clone() {
            self.offer_again(&id, now);
        }
    }

    /// Offers those again that want the address of a member for which the gossip has just begun to vouch: only now is it
    /// known which of them started first.
    fn offer_rivals(&mut self, record: &Record, now: Instant) {
        let claimants = self.membership.iter().zip(record.addresses.first());
        let claimants = claimants.flat_map(|(membership, address)| membership.claimants_of(*address));
        let rivals: Vec<_> = claimants.map(|rival| rival.id.clone()).filter(|id| self.waiting.contains(id)).collect();
        rivals.iter().for_each(|id| self.offer_again(id, now));
    }

    fn offer_again(&mut self, id: &NodeId, now: Instant) {
        let record = self.membership.as_ref().and_then(|membership| membership.get(id)).cloned();
        if let Some(record) = record.filter(|_| self.waiting.remove(id)) {
            self.offer(&record, now);
        }
    }

    /// Says of this node what has changed. `secrets_before` are those that its record names.
    pub(super) fn reintroduce(
        &mut self,
        addresses: Vec<IpNet>,
        identity: Option<Box<dyn Identity>>,
        secrets_before: Vec<Secret>,
        now: Now,
    ) {
        let Some(membership) = &mut self.membership else {
            return;
        };
        let mut notes = Vec::new();
        if let Some(Err(error)) = identity.map(|identity| membership.reidentify(now, identity)) {
            notes.push(Note::IdentityUnused(error));
        }
        if addresses != membership.own().addresses
            && let Err(error) = membership.update(now, RecordDraft { addresses, ..membership.draft().clone() })
        {
            notes.push(Note::AddressesUntold(error));
        }
        if let Some((first, others)) = self.settings.secrets.split_first()
            && let Err(error) = membership.rekey(now, KeyRing::new(first, others))
        {
            // Their names stand in our record, in this order.
            self.settings.secrets = secrets_before;
            notes.push(Note::SecretsUnused(error));
        }
        notes.into_iter().for_each(|note| self.note(note));
    }

    pub(super) fn note(&mut self, note: Note) {
        self.outputs.push_back(Output::Note(note));
    }
}
