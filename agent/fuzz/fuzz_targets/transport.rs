#![no_main]

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use tunmesh_session::{Endpoint, Event, Now, PeerId, PeerSettings, PrivateKey, Session, Suite};

/// Suite by bit 0, flags, and the new length of the datagram unless it is 0; then the plaintext and what is laid over the sealed
/// datagram.
type Input<'a> = ([u8; 2], u16, &'a [u8], &'a [u8]);

fuzz_target!(|input: Input<'_>| {
    let ([suite, flags], new_len, plaintext, alteration) = input;
    let (sender, receiver) = &SESSIONS[usize::from(suite & 1)];
    let mut window = receiver.opening();

    let mut arbitrary = alteration.to_vec();
    assert!(window.open(&mut arbitrary).is_err(), "bytes that nobody sealed were opened");
    // The same with a header that is right.
    let mut arbitrary = [&4_u32.to_le_bytes()[..], &receiver.local_index().to_le_bytes(), alteration].concat();
    assert!(window.open(&mut arbitrary).is_err(), "bytes that nobody sealed were opened");

    let counter = sender.reserve(1).expect("no fuzzer comes to the last one");
    let mut sealed = vec![0; Session::HEADER_LEN + plaintext.len() + Session::TAG_LEN];
    sealed[Session::HEADER_LEN..][..plaintext.len()].copy_from_slice(plaintext);
    sender.seal(counter, flags, &mut sealed);

    let mut altered = sealed.clone();
    altered.iter_mut().zip(alteration).for_each(|(byte, change)| *byte ^= change);
    if new_len > 0 {
        altered.resize(usize::from(new_len), 0);
    }
    if altered != sealed {
        assert!(window.open(&mut altered).is_err(), "an altered datagram was opened");
    }
    let mut genuine = sealed.clone();
    let opened = window.open(&mut genuine).expect("what was not altered opens, whatever came before");
    assert_eq!(&genuine[opened.plaintext], plaintext);
    assert_eq!(opened.counter, counter);
    assert_eq!(opened.flags, if receiver.suite() == Suite::Aegis { flags } else { 0 });
    assert!(window.open(&mut sealed).is_err(), "a datagram was opened twice");
});

/// The ends of a session of each suite: the one that seals, the one that opens.
static SESSIONS: LazyLock<[(Arc<Session>, Arc<Session>); 2]> = LazyLock::new(|| Suite::ALL.map(sessions));

fn sessions(suite: Suite) -> (Arc<Session>, Arc<Session>) {
    let now = Now { instant: Instant::now(), unix: Duration::from_secs(1_795_177_342) };
    let source: SocketAddr = "192.0.2.1:4500".parse().unwrap();
    let [a_key, b_key] = [[1; 32], [2; 32]].map(PrivateKey::from_bytes);
    let [mut a, mut b] = [(&a_key, &b_key, 5), (&b_key, &a_key, 6)].map(|(own, other, seed)| {
        let mut endpoint = Endpoint::new(own.clone(), now.instant, [seed; 32]);
        let public_key = other.public_key();
        endpoint
            .insert_peer(PeerId(0), PeerSettings { public_key, preshared_key: None, suite, keepalive: None })
            .unwrap();
        endpoint
    });
    a.connect(PeerId(0), now);
    b.handle_datagram(now, source, &a.poll_transmit().unwrap().datagram).unwrap();
    a.handle_datagram(now, source, &b.poll_transmit().unwrap().datagram).unwrap();
    let [a, b] = [a, b].map(|mut endpoint| match endpoint.poll_event() {
        Some(Event::Established { session, .. }) => session,
        event => panic!("not a session: {event:?}"),
    });
    (a, b)
}
