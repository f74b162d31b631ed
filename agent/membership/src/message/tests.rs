use proptest::collection::vec;
use proptest::prelude::*;

use crate::signed::{Signed, SignedRecord, Signer};

use super::*;

fn key() -> impl Strategy<Value = MemberKey> {
    any::<u64>().prop_map(MemberKey)
}

fn kind() -> impl Strategy<Value = Kind> {
    let listing = (vec((key(), any::<u64>()), 0..=MAX_LISTED), key(), key()).prop_map(|(mut entries, a, b)| {
        entries.sort_unstable();
        entries.dedup_by_key(|(key, _)| *key);
        let keys = a.min(b)..=a.max(b);
        entries.retain(|(key, _)| keys.contains(key));
        Kind::Listing { keys, entries }
    });
    prop_oneof![
        Just(Kind::Gossip),
        any::<u64>().prop_map(|nonce| Kind::Ping { nonce }),
        any::<u64>().prop_map(|nonce| Kind::Ack { nonce }),
        (any::<u64>(), key()).prop_map(|(nonce, target)| Kind::PingRequest { nonce, target }),
        any::<u64>().prop_map(|nonce| Kind::Reached { nonce }),
        any::<u64>().prop_map(|nonce| Kind::NotReached { nonce }),
        any::<u64>().prop_map(|root| Kind::Digest { root }),
        any::<u32>().prop_map(|bucket| Kind::Buckets { buckets: Box::new([bucket; BUCKETS]) }),
        listing,
        vec(key(), 0..=MAX_PULLED).prop_map(|keys| Kind::Pull { keys }),
    ]
}

fn signed() -> impl Strategy<Value = SignedRecord> {
    let signer =
        prop_oneof![any::<[u8; 32]>().prop_map(Signer::Key), vec(any::<u8>(), 0..400).prop_map(Signer::Certificate)];
    (vec(any::<u8>(), 0..400), signer, vec(any::<u8>(), 0..100))
        .prop_map(|(encoded, signer, signature)| SignedRecord::new(&encoded, &Signed { signer, signature }).unwrap())
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(
        sender in key(), stamp in any::<u64>(), kind in kind(), record in signed(), of in key(), by in key(),
    ) {
        let items = [
            Item::Dead { of, incarnation: stamp },
            Item::Suspect { of, incarnation: stamp, by },
            Item::Record(record.parts()),
        ];
        let mut draft = Draft::new(sender, stamp, &kind);

        let items: Vec<Item<'_>> = items.into_iter().filter(|item| draft.add(item)).collect();

        prop_assert!(draft.as_bytes().len() <= MAX_PLAINTEXT_LEN);
        prop_assert_eq!(Message::decode(draft.as_bytes()), Ok(Message { sender, stamp, kind, items }));
    }

    #[test]
    fn any_bytes_are_a_message_or_refused(mut bytes in vec(any::<u8>(), 0..400), kind in 0..12_u8) {
        let _either = Message::decode(&bytes);
        // Most bytes have the wrong version: the interesting ones begin well.
        if bytes.len() > HEAD_LEN {
            bytes[0] = VERSION;
            bytes[HEAD_LEN] = kind;
        }
        let _either = Message::decode(&bytes);
    }
}

#[test]
fn a_listing_out_of_order_or_out_of_its_range_is_refused() {
    let listing = |keys: RangeInclusive<u64>, entries: &[u64]| {
        let keys = MemberKey(*keys.start())..=MemberKey(*keys.end());
        let entries = entries.iter().map(|key| (MemberKey(*key), 1)).collect();
        Message::decode(Draft::new(MemberKey(1), 1, &Kind::Listing { keys, entries }).as_bytes()).is_ok()
    };

    assert!(listing(3..=9, &[3, 5, 9]));
    assert!(!listing(3..=9, &[5, 3]));
    assert!(!listing(3..=9, &[5, 5]));
    assert!(!listing(3..=9, &[10]));
    #[expect(clippy::reversed_empty_ranges, reason = "the claim is that it is refused")]
    let reversed = listing(9..=3, &[]);
    assert!(!reversed);
}
