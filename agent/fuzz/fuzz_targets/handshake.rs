#![no_main]

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use blake2::digest::consts::U16;
use blake2::digest::{Digest, FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac};
use libfuzzer_sys::fuzz_target;
use tunmesh_session::{
    Endpoint, MessageType, Now, PeerId, PeerSettings, PrivateKey, PublicKey, Refusal, Suite, message_type,
};

/// Bit 0: suite; bit 1: to the initiator rather than to the responder; bit 2: the bytes are laid over the message that its
/// receiver waits for; bit 3: and mac1 is made right again.
type Control = u8;

fuzz_target!(|input: (Control, &[u8])| {
    let (control, bytes) = input;
    let case = &CASES[usize::from(control & 1)];
    let to_initiator = control & 2 != 0;
    let (mut receiver, genuine) = match to_initiator {
        true => (initiator(case.suite), &case.response),
        false => (endpoint(case.suite, &RESPONDER, &INITIATOR), &case.initiation),
    };
    let is_altered = control & 4 != 0;
    let datagram = if is_altered { altered(case, to_initiator, control & 8 != 0, bytes) } else { bytes.to_vec() };

    let outcome = receiver.handle_datagram(*NOW, source(), &datagram);

    // The sender index is bound by mac1 only, which is keyed with what everybody may know; mac2 counts under load only.
    let authenticated = |message: &[u8]| [&message[..4], &message[8..message.len() - 32]].concat();
    let is_genuine = is_altered && authenticated(&datagram) == authenticated(genuine);
    if !is_genuine {
        let refusal = outcome.expect_err("what the peer did not make was heeded");
        if message_type(&datagram) == Some(MessageType::Transport) {
            assert_eq!(refusal, Refusal::Malformed);
        }
        assert_eq!(
            receiver.handle_datagram(*NOW, source(), genuine),
            Ok(PeerId(0)),
            "a forgery keeps out the genuine message"
        );
    } else if datagram[4..8] == genuine[4..8] {
        let is_mac1_right = datagram[..datagram.len() - 16] == genuine[..genuine.len() - 16];
        assert_eq!(outcome, if is_mac1_right { Ok(PeerId(0)) } else { Err(Refusal::WrongMac) });
    }
});

/// The message that the receiver waits for with `bytes` laid over it.
fn altered(case: &Case, to_initiator: bool, signs: bool, bytes: &[u8]) -> Vec<u8> {
    let (genuine, receiver) = match to_initiator {
        true => (&case.response, &INITIATOR),
        false => (&case.initiation, &RESPONDER),
    };
    let mut datagram = genuine.clone();
    datagram.iter_mut().zip(bytes).for_each(|(byte, change)| *byte ^= change);
    if signs {
        let (body, macs) = datagram.split_at_mut(genuine.len() - 32);
        macs[..16].copy_from_slice(&mac1(case.suite, &receiver.public_key(), body));
    }
    datagram
}

/// mac1 as the paper has it (section 5.4.4): anybody can make it.
fn mac1(suite: Suite, receiver: &PublicKey, body: &[u8]) -> [u8; 16] {
    let label: &[u8] = match suite {
        Suite::Aegis => b"mac1-tun",
        Suite::ChaChaPoly => b"mac1----",
    };
    let hash = Digest::chain_update(Digest::chain_update(Blake2s256::new(), label), receiver.as_bytes());
    let mut mac = Blake2sMac::<U16>::new_from_slice(&Digest::finalize(hash)).expect("32 bytes are a key");
    mac.update(body);
    mac.finalize_fixed().into()
}

fn endpoint(suite: Suite, own: &PrivateKey, other: &PrivateKey) -> Endpoint {
    let mut endpoint = Endpoint::new(own.clone(), NOW.instant, [5; 32]);
    let public_key = other.public_key();
    endpoint.insert_peer(PeerId(0), PeerSettings { public_key, preshared_key: None, suite, keepalive: None }).unwrap();
    endpoint
}

/// One that has sent its initiation, the same in every run.
fn initiator(suite: Suite) -> Endpoint {
    let mut endpoint = endpoint(suite, &INITIATOR, &RESPONDER);
    endpoint.connect(PeerId(0), *NOW);
    endpoint
}

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4500))
}

/// A genuine handshake.
struct Case {
    suite: Suite,
    initiation: Vec<u8>,
    response: Vec<u8>,
}

static CASES: LazyLock<[Case; 2]> = LazyLock::new(|| {
    Suite::ALL.map(|suite| {
        let initiation = initiator(suite).poll_transmit().unwrap().datagram;
        let mut responder = endpoint(suite, &RESPONDER, &INITIATOR);
        responder.handle_datagram(*NOW, source(), &initiation).unwrap();
        let response = responder.poll_transmit().unwrap().datagram;
        Case { suite, initiation, response }
    })
});
static INITIATOR: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::from_bytes([1; 32]));
static RESPONDER: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::from_bytes([2; 32]));
static NOW: LazyLock<Now> = LazyLock::new(|| Now { instant: Instant::now(), unix: Duration::from_secs(1_795_177_342) });
