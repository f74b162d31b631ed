#![no_main]

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use libfuzzer_sys::fuzz_target;
use tunmesh_membership::{
    Capabilities, DATAGRAM_TYPE, Identity, KeyRing, MAX_DATAGRAM_LEN, Membership, Now, Record, RecordDraft, Refused,
    RefusedRecord, Settings, Signed, Signer,
};
use tunmesh_protocol::{Secret, UnixTime};

// Messages one after the other: the time before it in units of 10 ms (1 byte), its length (2 bytes, big endian), what is sealed.
// Its stamp, bytes 9 to 16, is replaced by the time, or nothing would be taken.
fuzz_target!(|messages: &[u8]| {
    let [mut node, mut other] = ["fuzz", "other"].map(membership);
    let mut elapsed = Duration::ZERO;
    let mut rest = messages;
    for number in 0_u8..100 {
        let Some(([pause, high, low], after)) = rest.split_first_chunk() else {
            return;
        };
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (message, after) = after.split_at(len);
        rest = after;
        elapsed += Duration::from_millis(u64::from(*pause) * 10) + Duration::from_micros(1);
        let now = at(elapsed);
        node.handle_timeout(now);
        other.handle_timeout(now);

        assert!(node.handle_datagram(now, source(), message).is_err(), "bytes that nobody sealed were taken");
        let mut plaintext = message.to_vec();
        if let Some(stamp) = plaintext.get_mut(9..17) {
            let micros = u64::try_from((EPOCH + elapsed).as_micros()).unwrap();
            stamp.copy_from_slice(&micros.to_be_bytes());
        }
        let sealed = seal(number, &plaintext);
        let mut altered = sealed.clone();
        altered[usize::from(*pause) % sealed.len()] ^= 1;
        let refused = node.handle_datagram(now, source(), &altered);
        assert!(refused.is_err_and(|refused| is_of_the_seal(&refused)), "an altered datagram was taken: {refused:?}");
        let outcome = node.handle_datagram(now, source(), &sealed);
        assert_eq!(
            outcome.is_err_and(|refused| is_of_the_seal(&refused)),
            sealed.len() > MAX_DATAGRAM_LEN,
            "{outcome:?}"
        );

        check(&node);
        // What it sends, others understand.
        while let Some((_, datagram)) = node.poll_transmit() {
            assert!(datagram.len() <= MAX_DATAGRAM_LEN);
            let outcome = other.handle_datagram(now, source(), &datagram);
            assert!(
                !outcome.is_err_and(|refused| is_of_the_seal(&refused) || refused == Refused::Malformed),
                "{outcome:?}"
            );
        }
        while other.poll_transmit().is_some() {}
        for node in [&mut node, &mut other] {
            while node.poll_event().is_some() {}
        }
    }
});

fn check(node: &Membership) {
    assert!(!node.own().left, "somebody else said goodbye for this node");
    assert_eq!(node.members().count(), node.len());
    assert!(node.members().all(|member| member.id != node.own().id && !member.left));
    for address in node.members().flat_map(|member| &member.addresses) {
        assert!(node.owner_of(*address).is_some_and(|owner| owner.addresses.contains(address)));
    }
}

fn is_of_the_seal(refused: &Refused) -> bool {
    matches!(refused, Refused::NotGossip | Refused::Unauthentic | Refused::UnknownKey)
}

/// A datagram of the form in the documentation of [`KeyRing`].
fn seal(number: u8, plaintext: &[u8]) -> Vec<u8> {
    let header = [&[DATAGRAM_TYPE][..], &*KEY_ID, &[number; 12]].concat();
    let mut sealed = plaintext.to_vec();
    let key = Salt::new(HKDF_SHA256, &[]).extract(secret().as_bytes());
    let info: [&[u8]; 2] = [b"tunmesh v1 gossip", &[number; 9]];
    let key = key.expand(&info, &AES_256_GCM).unwrap();
    LessSafeKey::new(UnboundKey::from(key))
        .seal_in_place_append_tag(Nonce::assume_unique_for_key([number; 12]), Aad::from(&header), &mut sealed)
        .unwrap();
    [header, sealed].concat()
}

fn membership(id: &str) -> Membership {
    let own = RecordDraft {
        id: id.parse().unwrap(),
        url: "https://192.0.2.1:4567".parse().unwrap(),
        endpoints: vec![source()],
        public_key: [7; 32],
        addresses: vec!["10.0.0.1/32".parse().unwrap()],
        groups: Vec::new(),
        capabilities: Capabilities(1),
        version: "1.0.0".into(),
    };
    Membership::new(Settings::new(own), KeyRing::new(&secret(), &[]), Box::new(Credulous), [1; 32], at(Duration::ZERO))
        .unwrap()
}

/// Believes every record, so that what is behind the signature is reached.
struct Credulous;

impl Identity for Credulous {
    fn sign(&self, _: &[u8]) -> Signed {
        Signed { signer: Signer::Key([0; 32]), signature: vec![0; 64] }
    }

    fn verify(&self, _: &Record, _: &Signer, _: &[u8], _: &[u8]) -> Result<(), RefusedRecord> {
        Ok(())
    }
}

fn at(elapsed: Duration) -> Now {
    Now { instant: *START + elapsed, unix: UnixTime::new(EPOCH + elapsed) }
}

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4600))
}

fn secret() -> Secret {
    Secret::from_bytes(b"the secret of this cluster".to_vec())
}

static KEY_ID: LazyLock<[u8; 4]> = LazyLock::new(|| KeyRing::new(&secret(), &[]).ids()[0].0);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When the clock of the nodes starts, in Unix time.
const EPOCH: Duration = Duration::from_secs(1_795_177_342);
