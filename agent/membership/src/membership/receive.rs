use std::net::SocketAddr;
use std::sync::Arc;

use crate::event::Event;
use crate::identity::RefusedRecord;
use crate::member_key::MemberKey;
use crate::message::{Item, Kind, Message};
use crate::news::Topic;
use crate::record::Record;
use crate::refused::Refused;
use crate::settings::Now;
use crate::signed::{SignedParts, SignedRecord, Signer, message};
use crate::table::{Member, State};

use super::Membership;

impl Membership {
    /// Takes a datagram that came from `source`.
    ///
    /// # Errors
    ///
    /// Why it is refused; nothing came of it then. Only [`Refused::Record`] is about one record alone, the first one: the
    /// rest of the datagram was taken.
    pub fn handle_datagram(&mut self, now: Now, source: SocketAddr, datagram: &[u8]) -> Result<(), Refused> {
        self.counters.datagrams_received += 1;
        self.counters.bytes_received += datagram.len() as u64;
        let outcome = self.take(now, source, datagram);
        if !matches!(outcome, Ok(()) | Err(Refused::Record(_))) {
            self.counters.datagrams_refused += 1;
        }
        outcome
    }

    fn take(&mut self, now: Now, source: SocketAddr, datagram: &[u8]) -> Result<(), Refused> {
        if self.left {
            return Err(Refused::Left);
        }
        let plaintext = self.keys.open(datagram)?;
        let message = Message::decode(&plaintext)?;
        let sender = message.sender;
        if sender == self.key {
            return Err(Refused::Itself);
        }
        let latest = self.replay.accept(sender, message.stamp, now.unix_micros(), now.instant)?;
        let was_live = self.is_live(sender);
        let mut outcome = Ok(());
        for item in &message.items {
            let taken = match item {
                Item::Record(parts) => self.take_record(parts, now).map_err(Refused::Record),
                Item::Suspect { of, incarnation, by } => {
                    self.take_suspicion(*of, *incarnation, *by, source, now);
                    Ok(())
                }
                Item::Dead { of, incarnation } => {
                    self.take_death(*of, *incarnation, source, now);
                    Ok(())
                }
            };
            if taken.is_err() {
                self.counters.records_refused += 1;
            }
            outcome = outcome.and(taken);
        }
        if latest && let Some(member) = self.table.get_mut(sender) {
            member.seen_at = Some(source);
        }
        // Who sent what is refused would send it again, and so on without end.
        if outcome.is_ok() {
            self.greet(sender, was_live, source, now);
        }
        self.answer(sender, message.kind, source, now);
        self.meet_helpers(now);
        outcome
    }

    /// Makes known to each other a sender and this node, where one does not know the other or believes it to be down.
    fn greet(&mut self, sender: MemberKey, was_live: bool, source: SocketAddr, now: Now) {
        match self.table.get(sender).map(|member| &member.state) {
            None => {
                self.send(source, &Kind::Pull { keys: vec![sender] }, &[], now);
            }
            // Its record too: it may have forgotten that it had such a high incarnation.
            Some(State::Down { .. }) => {
                let topics = self.pushed(sender, true).into_iter().map(|topic| (sender, topic)).collect::<Vec<_>>();
                self.send(source, &Kind::Gossip, &topics, now);
            }
            Some(State::Alive | State::Suspect { .. }) if was_live => {}
            Some(State::Alive | State::Suspect { .. }) => self.welcome(source, now),
        }
    }

    fn answer(&mut self, sender: MemberKey, kind: Kind, source: SocketAddr, now: Now) {
        match kind {
            Kind::Gossip => {}
            Kind::Ping { nonce } => self.answer_ping(sender, nonce, source, now),
            Kind::Ack { nonce } => self.take_ack(sender, nonce, source, now),
            Kind::PingRequest { nonce, target } => self.relay(nonce, target, source, now),
            Kind::Reached { nonce } => self.take_reached(nonce),
            Kind::NotReached { nonce } => self.take_not_reached(nonce),
            // What a member that is not there believes is out of date; it is told so, and compares later.
            Kind::Digest { .. } | Kind::Buckets { .. } | Kind::Listing { .. } if !self.is_live(sender) => {}
            Kind::Digest { root } => self.compare_root(root, source, now),
            Kind::Buckets { buckets } => self.compare_buckets(&buckets, source, now),
            Kind::Listing { keys, entries } => self.compare_listing(keys, &entries, source, now),
            Kind::Pull { keys } => self.take_pull(&keys, source, now),
        }
    }

    /// Takes over a record, if it is newer than what is known of that member.
    fn take_record(&mut self, parts: &SignedParts<'_>, now: Now) -> Result<(), RefusedRecord> {
        let (id, incarnation) = parts.peek().map_err(|_| RefusedRecord::Malformed)?;
        let key = MemberKey::of_text(id);
        if let Some(known) = self.table.get(key) {
            if known.record.id.as_str() != id {
                return Err(RefusedRecord::IdCollision);
            }
            if incarnation <= known.record.incarnation {
                return Ok(());
            }
        } else if self.is_full() && self.longest_down().is_none() {
            return Err(RefusedRecord::Full);
        }
        let record = self.verify(key, parts)?;
        if key == self.key {
            self.outdo(incarnation, now);
            return Ok(());
        }
        if self.table.get(key).is_none()
            && self.is_full()
            && let Some(forgotten) = self.longest_down()
        {
            self.table.forget(forgotten);
            self.news.remove(forgotten);
        }
        self.accept(key, record, SignedRecord::keep(parts), now);
        Ok(())
    }

    fn verify(&mut self, key: MemberKey, parts: &SignedParts<'_>) -> Result<Record, RefusedRecord> {
        let record = Record::decode(parts.encoded).map_err(|_| RefusedRecord::Malformed)?;
        let signer = parts.signer();
        if let Some(known) = self.table.get(key)
            && let known = known.signed.parts().signer()
            && known != signer
            && (matches!(known, Signer::Key(_)) || matches!(signer, Signer::Key(_)))
        {
            return Err(RefusedRecord::KeyChanged);
        }
        self.identity.verify(&record, &signer, &message(parts.encoded), parts.signature)?;
        Ok(record)
    }

    fn accept(&mut self, key: MemberKey, record: Record, signed: SignedRecord, now: Now) {
        self.counters.records_accepted += 1;
        let record = Arc::new(record);
        let state = if record.left { State::Down { left: true, since: now.instant } } else { State::Alive };
        let mut member = Member::new(Arc::clone(&record), signed, state);
        let mut says_the_same = false;
        if let Some(before) = self.table.get(key) {
            says_the_same = Record::say_the_same(before.signed.parts().encoded, member.signed.parts().encoded);
            member.seen_at = before.seen_at;
            if before.record.endpoints == record.endpoints {
                member.answers_at = before.answers_at;
                member.advertised_failed = before.advertised_failed;
            }
        }
        let before = self.table.put(key, member).filter(|before| before.state.is_live());
        match (&before, record.left) {
            (None, true) => {}
            (Some(_), true) => self.events.push_back(Event::Down { id: record.id.clone(), left: true }),
            (None, false) => self.events.push_back(Event::Up(record)),
            (Some(_), false) if says_the_same => {}
            (Some(_), false) => self.events.push_back(Event::Changed(record)),
        }
        self.report_contested(key, before.as_ref().map(|before| before.record.as_ref()));
        self.spread(key, Topic::Record, now);
    }

    /// Reports what the member claims, did not claim `before`, and others claim as well.
    pub(super) fn report_contested(&mut self, key: MemberKey, before: Option<&Record>) {
        let Some(member) = self.table.get(key).filter(|member| member.state.is_live()) else {
            return;
        };
        for address in &member.record.addresses {
            if before.is_some_and(|before| before.addresses.contains(address)) {
                continue;
            }
            let owners = self.table.owners(address);
            let Some(first) = owners.first() else {
                continue;
            };
            // The newcomer against the first, or, where it is the first, against the one it comes before.
            let other = if first.id == member.record.id { owners.get(1) } else { Some(&&member.record) };
            if let Some(claimant) = other {
                self.events.push_back(Event::Contested {
                    address: *address,
                    holder: Arc::clone(first),
                    claimant: Arc::clone(claimant),
                });
            }
        }
    }

    fn is_full(&self) -> bool {
        self.table.len() >= self.max_members
    }

    /// The member to forget when there is no room.
    fn longest_down(&self) -> Option<MemberKey> {
        let down = self.table.iter().filter_map(|(key, member)| match member.state {
            State::Down { since, .. } => Some((since, key)),
            State::Alive | State::Suspect { .. } => None,
        });
        down.min().map(|(_, key)| key)
    }

    pub(super) fn is_live(&self, key: MemberKey) -> bool {
        self.table.get(key).is_some_and(|member| member.state.is_live())
    }
}
