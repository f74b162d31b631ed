use super::*;

#[test]
fn both_ends_get_the_same_keys() {
    for suite in Suite::ALL {
        let (mut initiator, response, keys) = answered(suite, Some(&psk(9)));

        let ours = initiator.finish(Some(&psk(9)), &response).unwrap_or_else(|_| panic!("{suite:?}"));

        assert_eq!((&ours.sending, &ours.receiving), (&keys.receiving, &keys.sending));
        assert_ne!(ours.sending, ours.receiving);
    }
}

#[test]
fn after_a_forged_response_the_genuine_one_is_still_taken() {
    for suite in Suite::ALL {
        let (mut initiator, response, keys) = answered(suite, None);
        for byte in 0..RESPONSE_BODY_LEN {
            let mut forged = response;
            forged[byte] ^= 1;
            assert!(initiator.finish(None, &forged).is_err(), "{suite:?}, byte {byte}");
        }

        assert!(initiator.finish(None, &response).is_ok_and(|ours| ours.sending == keys.receiving));
    }
}

#[test]
fn another_preshared_key_fails_and_none_is_all_zero() {
    let (mut initiator, response, _) = answered(Suite::Aegis, None);

    assert!(initiator.finish(Some(&psk(1)), &response).is_err());
    assert!(initiator.finish(Some(&psk(0)), &response).is_ok());
}

#[test]
fn an_initiation_of_the_other_suite_or_altered_is_not_read() {
    let (_, body) = start(Suite::Aegis);
    assert!(Responder::read(Suite::ChaChaPoly, &private(2), key(4), &body).is_err());
    for byte in 0..INITIATION_BODY_LEN {
        let mut altered = body;
        altered[byte] ^= 1;
        assert!(Responder::read(Suite::Aegis, &private(2), key(4), &altered).is_err(), "byte {byte}");
    }
}

#[test]
fn a_public_key_of_small_order_is_refused() {
    for point in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let remote = PublicKey::from_bytes(point);
        assert!(Initiator::start(Suite::ChaChaPoly, &private(1), &remote, key(3), Tai64n::default()).is_err());
    }
}

#[test]
fn the_responder_learns_who_asks_and_when() {
    let (_, body) = start(Suite::ChaChaPoly);
    let responder =
        Responder::read(Suite::ChaChaPoly, &private(2), key(4), &body).unwrap_or_else(|_| panic!("refused"));

    assert_eq!((responder.remote, responder.timestamp), (private(1).public_key(), Tai64n::from_bytes([7; 12])));
}

fn answered(suite: Suite, psk: Option<&PresharedKey>) -> (Initiator, [u8; RESPONSE_BODY_LEN], TransportKeys) {
    let (initiator, body) = start(suite);
    let responder = Responder::read(suite, &private(2), key(4), &body).unwrap_or_else(|_| panic!("{suite:?}"));
    let (keys, response) = responder.respond(psk).unwrap_or_else(|_| panic!("{suite:?}"));
    (initiator, response, keys)
}

fn start(suite: Suite) -> (Initiator, [u8; INITIATION_BODY_LEN]) {
    let timestamp = Tai64n::from_bytes([7; 12]);
    Initiator::start(suite, &private(1), &private(2).public_key(), key(3), timestamp)
        .unwrap_or_else(|_| panic!("{suite:?}"))
}

fn private(byte: u8) -> PrivateKey {
    PrivateKey::from_bytes([byte; 32])
}

fn psk(byte: u8) -> PresharedKey {
    PresharedKey::from_bytes([byte; 32])
}

fn key(byte: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([byte; 32])
}
