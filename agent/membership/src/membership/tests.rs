use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use tunmesh_protocol::{Secret, UnixTime};

use crate::identity::KeyIdentity;
use crate::message::{Draft, Item, Kind, MAX_LISTED};
use crate::record::Capabilities;
use crate::signed::SignedRecord;

use super::*;

/// What an insider may send: any kind, any claim, about members that exist and others, with any numbers.
#[derive(Clone, Debug)]
struct Sent {
    sender: usize,
    kind: u8,
    numbers: (u64, u64, u64),
    claims: Vec<(usize, u64, bool)>,
    record_of: Option<(usize, u64)>,
    wait_millis: u64,
}

fn sent() -> impl Strategy<Value = Sent> {
    let number = || prop_oneof![0..4_u64, any::<u64>(), Just(u64::MAX)];
    let claims = vec((0..6_usize, number(), any::<bool>()), 0..4);
    let record = prop::option::of((0..6_usize, number()));
    ((1..6_usize, 0..10_u8), (number(), number(), number()), claims, record, 0..3000_u64).prop_map(
        |((sender, kind), numbers, claims, record_of, wait_millis)| Sent {
            sender,
            kind,
            numbers,
            claims,
            record_of,
            wait_millis,
        },
    )
}

proptest! {
    #[test]
    fn whatever_an_insider_sends_no_record_regresses_and_nobody_else_speaks_for_us(all in vec(sent(), 1..40)) {
        let start = Now { instant: Instant::now(), unix: UnixTime::new(Duration::from_secs(1_795_000_000)) };
        let mut node = Membership::new(Settings::new(draft(0)), ring(), identity(0), [1; 32], start)?;
        let mut now = start;
        let mut held = std::collections::BTreeMap::new();
        for (index, sent) in all.iter().enumerate() {
            let wait = Duration::from_millis(sent.wait_millis);
            now = Now { instant: now.instant + wait, unix: UnixTime::new(now.unix.since_epoch() + wait) };
            node.handle_timeout(now);
            let stamp = now.unix_micros() + index as u64;
            let datagram = ring().seal([0; 12], &plaintext(sent, stamp));

            let _either = node.handle_datagram(now, "192.0.2.9:4600".parse()?, &datagram);

            while let Some((_, datagram)) = node.poll_transmit() {
                prop_assert!(datagram.len() <= crate::keys::MAX_DATAGRAM_LEN);
            }
            while node.poll_event().is_some() {}
            prop_assert!(node.poll_timeout().is_some());
            // It refutes by one at a time, whatever numbers others invent.
            prop_assert!(node.own().incarnation - node.own().started <= all.len() as u64 * 4);
            prop_assert_eq!(&node.own().url, &draft(0).url);
            for record in node.members() {
                let before = held.insert(record.id.clone(), record.incarnation);
                prop_assert!(before.is_none_or(|before| before <= record.incarnation));
            }
        }
    }

    #[test]
    fn any_bytes_that_were_sealed_are_taken_or_refused(plaintext in vec(any::<u8>(), 0..300)) {
        let now = Now { instant: Instant::now(), unix: UnixTime::new(Duration::from_secs(1_795_000_000)) };
        let mut node = Membership::new(Settings::new(draft(0)), ring(), identity(0), [1; 32], now)?;
        let _either = node.handle_datagram(now, "192.0.2.9:4600".parse()?, &ring().seal([0; 12], &plaintext));
        let _either = node.handle_datagram(now, "192.0.2.9:4600".parse()?, &plaintext);
    }
}

fn plaintext(sent: &Sent, stamp: u64) -> Vec<u8> {
    let key = |index: usize| MemberKey::of(&draft(index).id);
    let (a, b, c) = sent.numbers;
    let kind = match sent.kind {
        0 => Kind::Gossip,
        1 => Kind::Ping { nonce: a },
        2 => Kind::Ack { nonce: a },
        3 => Kind::PingRequest { nonce: a, target: key(sent.sender - 1) },
        4 => Kind::Reached { nonce: a },
        5 => Kind::NotReached { nonce: a },
        6 => Kind::Digest { root: a },
        7 => Kind::Buckets { buckets: Box::new([u32::try_from(a & 0xffff).unwrap_or(0); 256]) },
        8 => {
            let entries = if c > 2 { vec![(key(1), b)] } else { Vec::with_capacity(MAX_LISTED) };
            Kind::Listing { keys: MemberKey(0)..=MemberKey(u64::MAX), entries }
        }
        _ => Kind::Pull { keys: vec![key(0), key(1), MemberKey(b)] },
    };
    let mut message = Draft::new(key(sent.sender), stamp, &kind);
    let record = sent.record_of.map(|(of, incarnation)| signed(of, incarnation));
    if let Some(record) = &record {
        message.add(&Item::Record(record.parts()));
    }
    for (of, incarnation, dead) in &sent.claims {
        let (of, incarnation) = (key(*of), *incarnation);
        message.add(&if *dead {
            Item::Dead { of, incarnation }
        } else {
            Item::Suspect { of, incarnation, by: key(sent.sender) }
        });
    }
    message.as_bytes().to_vec()
}

/// Signed by the key of its index, except for that of the node itself, which is forged.
fn signed(of: usize, incarnation: u64) -> SignedRecord {
    let record = draft(of).record(incarnation, 1, vec![]).unwrap();
    own::sign(identity(if of == 0 { 9 } else { of }).as_ref(), &record).unwrap()
}

fn draft(index: usize) -> RecordDraft {
    RecordDraft {
        id: format!("node-{index}").parse().unwrap(),
        url: format!("https://node-{index}:4567").parse().unwrap(),
        endpoints: vec![format!("192.0.2.{}:4600", index + 1).parse().unwrap()],
        public_key: [7; 32],
        addresses: vec!["10.0.0.1/32".parse().unwrap()],
        groups: vec![],
        capabilities: Capabilities::default(),
        version: "1".into(),
    }
}

fn ring() -> KeyRing {
    KeyRing::new(&Secret::from_bytes(b"secret".to_vec()), &[])
}

fn identity(index: usize) -> Box<dyn Identity> {
    Box::new(KeyIdentity::new(&[u8::try_from(index).unwrap(); 32]).unwrap())
}
