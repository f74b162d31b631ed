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

#[test]
fn a_full_table_forgets_nobody_for_a_forged_record() {
    let now = Now { instant: Instant::now(), unix: UnixTime::new(Duration::from_secs(1_795_000_000)) };
    let mut settings = Settings::new(draft(0));
    settings.max_members = 3;
    let mut node = Membership::new(settings, ring(), identity(0), [1; 32], now).unwrap();
    let source = "192.0.2.9:4600".parse().unwrap();
    let mut stamp = now.unix_micros();
    let mut tell = |node: &mut Membership, claims, record_of, forged: bool| {
        stamp += 1;
        let sent = Sent { sender: 1, kind: 0, numbers: (0, 0, 0), claims, record_of: None, wait_millis: 0 };
        let mut message = plaintext(&sent, stamp);
        if let Some((of, by)) = record_of {
            let record = draft(of).record(1, 1, vec![]).unwrap();
            let record = own::sign(identity(by).as_ref(), &record).unwrap();
            let mut bytes = record.parts().all().to_vec();
            let last = bytes.len() - 1;
            bytes[last] ^= u8::from(forged);
            message.push(0);
            message.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
            message.extend(bytes);
        }
        node.handle_datagram(now, source, &ring().seal([0; 12], &message))
    };
    tell(&mut node, vec![], Some((1, 1)), false).unwrap();
    tell(&mut node, vec![], Some((2, 2)), false).unwrap();
    tell(&mut node, vec![(2, 1, true)], None, false).unwrap();
    let down = MemberKey::of(&draft(2).id);
    assert!(node.table.get(down).is_some() && !node.is_live(down));

    assert!(tell(&mut node, vec![], Some((3, 3)), true).is_err());
    assert!(node.table.get(down).is_some(), "forgotten for a forged record");

    tell(&mut node, vec![], Some((3, 3)), false).unwrap();
    assert!(node.table.get(down).is_none() && node.is_live(MemberKey::of(&draft(3).id)));
}

#[test]
fn what_is_pushed_leaves_at_one_pace_however_many_want_it() {
    let start = Now { instant: Instant::now(), unix: UnixTime::new(Duration::from_secs(1_795_000_000)) };
    let mut node = Membership::new(Settings::new(draft(0)), ring(), identity(0), [1; 32], start).unwrap();
    let to = |port: u16| ([192, 0, 2, 1], port).into();
    for _ in 0..5 {
        node.push([], to(1), start);
    }
    for port in 1..=100 {
        node.push([(node.key, true)], to(port), start);
    }

    node.handle_timeout(start);

    assert_eq!(std::iter::from_fn(|| node.poll_transmit()).count(), 8);
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
