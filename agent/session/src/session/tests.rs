use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use zeroize::Zeroizing;

use super::*;

#[test]
fn a_packet_comes_out_as_it_went_in_with_its_flags_and_counter() {
    for suite in Suite::ALL {
        let (a, b) = pair(suite);
        let counter = a.reserve(3).unwrap() + 2;

        let mut datagram = sealed(&a, counter, 5, b"a packet");
        let opened = b.opening().open(&mut datagram).unwrap();

        assert_eq!((opened.counter, &datagram[opened.plaintext]), (2, &b"a packet"[..]), "{suite:?}");
        assert_eq!(opened.flags, if suite == Suite::Aegis { 5 } else { 0 });
    }
}

#[test]
fn the_header_has_type_flags_receiver_index_and_counter() {
    let (a, _) = pair(Suite::Aegis);
    let datagram = sealed(&a, 0x0102, 7, b"");

    assert_eq!(datagram.len(), 32);
    assert_eq!(datagram[..16], [4, 7, 0, 0, 0xbb, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    let (a, _) = pair(Suite::ChaChaPoly);
    assert_eq!(sealed(&a, 0, 7, b"")[..4], [4, 0, 0, 0]);
}

#[test]
fn a_datagram_with_any_bit_altered_is_refused_and_the_genuine_one_still_opens() {
    for suite in Suite::ALL {
        let (a, b) = pair(suite);
        let genuine = sealed(&a, 9, 1, b"0123456789");
        for bit in 0..genuine.len() * 8 {
            let mut altered = genuine.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let error = b.opening().open(&mut altered).unwrap_err();
            let expected = match bit / 8 {
                4..8 => OpenError::WrongIndex,
                // A counter past the last one of the suite is refused without a look at the tag.
                12..16 if suite == Suite::Aegis && error == OpenError::Expired => OpenError::Expired,
                _ => OpenError::Forged,
            };
            assert_eq!(error, expected, "{suite:?}, bit {bit}");
        }
        assert!(b.opening().open(&mut genuine.clone()).is_ok());
        assert_eq!(b.opening().open(&mut genuine.clone()), Err(OpenError::Replayed));
    }
}

#[test]
fn a_forged_counter_does_not_move_the_window() {
    let (a, b) = pair(Suite::ChaChaPoly);
    let mut ahead = sealed(&a, 1, 0, b"x");
    ahead[8..16].copy_from_slice(&(1u64 << 40).to_le_bytes());

    assert_eq!(b.opening().open(&mut ahead), Err(OpenError::Forged));
    assert!(b.opening().open(&mut sealed(&a, 0, 0, b"x")).is_ok());
}

#[test]
fn what_is_too_short_is_refused() {
    let (_, b) = pair(Suite::Aegis);
    for len in 0..32 {
        assert_eq!(b.opening().open(&mut vec![4; len]), Err(OpenError::TooShort));
    }
}

#[test]
fn what_one_sent_does_not_open_at_the_sender() {
    let (a, b) = pair(Suite::Aegis);
    let mut datagram = sealed(&a, 0, 0, b"x");
    datagram[4..8].copy_from_slice(&a.local_index().to_le_bytes());

    assert_eq!(a.opening().open(&mut datagram), Err(OpenError::Forged));
    assert_eq!(b.role(), Role::Responder);
}

#[test]
fn the_first_message_opened_confirms_the_session_of_a_responder() {
    let (a, b) = pair(Suite::Aegis);
    assert!(a.is_confirmed() && !b.is_confirmed());

    let confirms = [0, 1].map(|counter| b.opening().open(&mut sealed(&a, counter, 0, b"")).unwrap().confirms);

    assert_eq!((confirms, b.is_confirmed()), ([true, false], true));
}

#[test]
fn no_counter_is_reserved_past_the_last_one_or_after_the_end() {
    for suite in Suite::ALL {
        let (a, b) = pair(suite);
        a.next_counter.store(REJECT_AFTER_MESSAGES - 10, Ordering::Relaxed);

        assert_eq!([a.reserve(11), a.reserve(u64::MAX)], [None, None]);
        assert_eq!([a.reserve(10), a.reserve(1)], [Some(REJECT_AFTER_MESSAGES - 10), None]);
        assert!(a.is_worn() && !b.is_worn());
        assert!(b.opening().open(&mut sealed(&a, REJECT_AFTER_MESSAGES - 1, 0, b"last")).is_ok());
        assert_eq!(b.opening().open(&mut sealed(&a, REJECT_AFTER_MESSAGES, 0, b"past")), Err(OpenError::Expired));
        b.expire();
        assert_eq!(b.reserve(1), None);
        assert_eq!(b.opening().open(&mut sealed(&a, 0, 0, b"late")), Err(OpenError::Expired));
    }
}

#[test]
fn threads_never_reserve_the_same_counter() {
    let (a, _) = pair(Suite::Aegis);
    let a = Arc::new(a);
    let threads: Vec<_> = (1..=4u64)
        .map(|count| {
            let a = Arc::clone(&a);
            thread::spawn(move || (0..1000).map(|_| (a.reserve(count).unwrap(), count)).collect::<Vec<_>>())
        })
        .collect();
    let mut counters = BTreeSet::new();
    for (first, count) in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
        assert!((first..first + count).all(|counter| counters.insert(counter)));
    }

    assert_eq!(counters.len(), 10_000);
}

#[test]
fn debug_output_shows_no_key() {
    let (a, _) = pair(Suite::Aegis);

    let expected =
        "Session { peer: PeerId(1), suite: Aegis, role: Initiator, local_index: 170, remote_index: 187, .. }";
    assert_eq!(format!("{a:?}"), expected);
}

/// Both ends of a session.
fn pair(suite: Suite) -> (Session, Session) {
    let keys = |sending, receiving| TransportKeys {
        sending: Zeroizing::new([sending; 32]),
        receiving: Zeroizing::new([receiving; 32]),
    };
    let activity = Arc::new(Activity::new(Instant::now()));
    let a = Session::new(PeerId(1), suite, Role::Initiator, (0xaa, 0xbb), &keys(1, 2), Arc::clone(&activity));
    let b = Session::new(PeerId(2), suite, Role::Responder, (0xbb, 0xaa), &keys(2, 1), activity);
    (a, b)
}

fn sealed(session: &Session, counter: u64, flags: u8, plaintext: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 32 + plaintext.len()];
    datagram[16..16 + plaintext.len()].copy_from_slice(plaintext);
    session.seal(counter, flags, &mut datagram);
    datagram
}
