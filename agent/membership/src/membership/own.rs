use std::net::SocketAddr;
use std::sync::Arc;

use crate::identity::Identity;
use crate::keys::KeyRing;
use crate::message::Kind;
use crate::news::Topic;
use crate::record::{Record, RecordDraft, RecordError};
use crate::settings::Now;
use crate::signed::{SignedRecord, message};
use crate::table::{Member, State};

use super::Membership;

impl Membership {
    /// Announces this node to whoever listens at `address`, and compares what both know.
    ///
    /// Nothing is remembered of it: the caller repeats it as it likes, for instance while [`is_empty`](Self::is_empty).
    pub fn join(&mut self, now: Now, address: SocketAddr) {
        if !self.left {
            self.introduce(address, now);
        }
    }

    /// This node says something else from now on.
    ///
    /// # Errors
    ///
    /// When the draft does not fit into a record, or is another node's ([`RecordError::OtherId`]); then nothing changes.
    pub fn update(&mut self, now: Now, draft: RecordDraft) -> Result<(), RecordError> {
        if draft.id != self.draft.id {
            return Err(RecordError::OtherId);
        }
        let own = self.own();
        let record = draft.record(own.incarnation.saturating_add(1), own.started, self.keys.ids())?;
        self.replace_own(record, now)?;
        self.draft = draft;
        Ok(())
    }

    /// Other cluster secrets from now on; the members are told which ones this node knows.
    ///
    /// A node seals with the first one, so that one must be known to all members before it comes first anywhere: add it
    /// behind the current one, wait until every record lists it, then put it first.
    ///
    /// # Errors
    ///
    /// When there are more than a record may hold; then nothing changes.
    pub fn rekey(&mut self, now: Now, keys: KeyRing) -> Result<(), RecordError> {
        let own = self.own();
        let record = self.draft.record(own.incarnation.saturating_add(1), own.started, keys.ids())?;
        self.replace_own(record, now)?;
        self.keys = keys;
        Ok(())
    }

    /// Signs and verifies records by another identity from now on; the members get the present record signed anew.
    ///
    /// # Errors
    ///
    /// When the record with its new signature is too long; then nothing changes.
    pub fn reidentify(&mut self, now: Now, identity: Box<dyn Identity>) -> Result<(), RecordError> {
        let own = self.own();
        let record = Record { incarnation: own.incarnation.saturating_add(1), ..Record::clone(own) };
        let before = std::mem::replace(&mut self.identity, identity);
        let outcome = self.replace_own(record, now);
        if outcome.is_err() {
            self.identity = before;
        }
        outcome
    }

    /// Says goodbye to a few members, who tell the others. Afterwards nothing is answered any more: what
    /// [`poll_transmit`](Self::poll_transmit) still returns is the last that is to be sent.
    pub fn leave(&mut self, now: Now) {
        let own = self.own();
        let record = Record { left: true, incarnation: own.incarnation.saturating_add(1), ..Record::clone(own) };
        // It differs from the present record by one bit, so it is not too long.
        if self.left || self.replace_own(record, now).is_err() {
            return;
        }
        for target in self.some_live(FAREWELLS) {
            if let Some(address) = self.table.get(target).and_then(Member::address) {
                self.send(address, &Kind::Gossip, &[(self.key, Topic::Record)], now);
            }
        }
        self.left = true;
        self.agenda.clear();
    }

    /// Answers a claim, by the node at `source`, that this node in that `incarnation` is not there.
    pub(super) fn refute(&mut self, incarnation: u64, source: SocketAddr, now: Now) {
        let own = self.own();
        // Only this node can make a higher incarnation: a claim about one is no news of us.
        if incarnation > own.incarnation {
            return;
        }
        if incarnation == own.incarnation {
            let record = Record { incarnation: incarnation.saturating_add(1), ..Record::clone(own) };
            if self.replace_own(record, now).is_err() {
                return;
            }
            self.counters.refutations += 1;
            self.strain = (self.strain + 1).min(super::probing::MAX_STRAIN);
        }
        self.send(source, &Kind::Gossip, &[(self.key, Topic::Record)], now);
    }

    /// Outdoes a record of this node, by its own signature, that is newer than the one it has: it was started anew with a
    /// clock that was set back.
    pub(super) fn outdo(&mut self, incarnation: u64, now: Now) {
        let record = Record { incarnation: incarnation.saturating_add(1), ..Record::clone(self.own()) };
        // The same but for a number of fixed length, so it is not too long.
        let _too_long = self.replace_own(record, now);
    }

    /// Signs the record, and spreads it.
    fn replace_own(&mut self, record: Record, now: Now) -> Result<(), RecordError> {
        let signed = sign(self.identity.as_ref(), &record)?;
        let before = self.table.put(self.key, Member::new(Arc::new(record), signed, State::Alive));
        self.report_contested(self.key, before.as_ref().map(|before| before.record.as_ref()));
        self.spread(self.key, Topic::Record, now);
        Ok(())
    }
}

/// The record as it travels.
///
/// # Errors
///
/// [`RecordError::TooLong`].
pub(super) fn sign(identity: &dyn Identity, record: &Record) -> Result<SignedRecord, RecordError> {
    let encoded = record.encode();
    let signed = identity.sign(&message(&encoded));
    SignedRecord::new(&encoded, &signed)
}

/// Members told directly by one who leaves: enough that some are there and tell the others.
const FAREWELLS: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tunmesh_protocol::{Secret, UnixTime};

    use super::*;
    use crate::identity::{KeyIdentity, RefusedRecord};
    use crate::record::Capabilities;
    use crate::settings::Settings;
    use crate::signed::{Signed, Signer};

    #[test]
    fn another_identity_signs_the_record_anew_unless_it_makes_it_too_long() {
        let now = Now { instant: Instant::now(), unix: UnixTime::new(Duration::from_secs(1_795_000_000)) };
        let mut node = node(now);
        let before = node.own().incarnation;

        node.reidentify(now, Box::new(Certified(100))).unwrap();

        assert_eq!(node.own().incarnation, before + 1);
        assert_eq!(signer(&node), Signer::Certificate(vec![1; 100]));

        let outcome = node.reidentify(now, Box::new(Certified(2000)));

        assert!(matches!(outcome, Err(RecordError::TooLong { .. })), "{outcome:?}");
        node.leave(now);
        assert_eq!(node.own().incarnation, before + 2);
        assert_eq!(signer(&node), Signer::Certificate(vec![1; 100]));
    }

    /// Signs with a certificate of so many bytes.
    struct Certified(usize);

    impl Identity for Certified {
        fn sign(&self, _: &[u8]) -> Signed {
            Signed { signer: Signer::Certificate(vec![1; self.0]), signature: vec![2; 64] }
        }

        fn verify(&self, _: &Record, _: &Signer, _: &[u8], _: &[u8]) -> Result<(), RefusedRecord> {
            Ok(())
        }
    }

    fn signer(node: &Membership) -> Signer {
        node.table.own().signed.parts().signer()
    }

    fn node(now: Now) -> Membership {
        let draft = RecordDraft {
            id: "a".parse().unwrap(),
            url: "https://a:1".parse().unwrap(),
            endpoints: Vec::new(),
            public_key: [1; 32],
            addresses: Vec::new(),
            groups: Vec::new(),
            capabilities: Capabilities::default(),
            version: String::new(),
        };
        let keys = KeyRing::new(&Secret::from_bytes(b"a".to_vec()), &[]);
        let identity = Box::new(KeyIdentity::new(&[1; 32]).unwrap());
        Membership::new(Settings::new(draft), keys, identity, [2; 32], now).unwrap()
    }
}
