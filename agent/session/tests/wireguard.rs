//! The handshake against a second implementation, written from the formulas of the paper alone (section 5.4), and against
//! a handshake that wireguard-go made.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

#[path = "wireguard/paper.rs"]
mod paper;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tunmesh_session::{Endpoint, Event, Now, PeerId, PeerSettings, PresharedKey, PrivateKey, Session, Suite, Target};

use paper::Paper;

#[test]
fn the_paper_initiates_and_packets_pass_both_ways() {
    for suite in Suite::ALL {
        let (mut endpoint, mut paper) = pair(suite);
        let initiation = paper.initiation(&[9; 32], 1, &TIMESTAMP);
        endpoint.handle_datagram(now(), source(), &initiation).unwrap();
        let transmit = endpoint.poll_transmit().unwrap();
        assert_eq!(transmit.to, Target::Address(source()));
        paper.handle_response(&transmit.datagram);

        let session = established(&mut endpoint);
        let mut datagram = paper.seal(0, b"from the paper, padded\0\0");
        let opened = session.opening().open(&mut datagram).unwrap();
        assert_eq!(&datagram[opened.plaintext], b"from the paper, padded\0\0", "{suite:?}");
        assert_eq!(paper.open(&seal(&session, b"to the paper")), b"to the paper", "{suite:?}");
    }
}

#[test]
fn the_paper_responds_and_packets_pass_both_ways() {
    for suite in Suite::ALL {
        let (mut endpoint, mut paper) = pair(suite);
        endpoint.connect(PeerId(1), now());
        let initiation = endpoint.poll_transmit().unwrap();
        assert_eq!(initiation.to, Target::Peer(PeerId(1)));
        let timestamp = paper.handle_initiation(&initiation.datagram);
        // 1,000,000,000.5 s: TAI is 10 s ahead at 1970; nanoseconds without their low 24 bits.
        assert_eq!(timestamp[..8], ((1u64 << 62) + 10 + 1_000_000_000).to_be_bytes());
        assert_eq!(timestamp[8..], (500_000_000u32 & 0xff00_0000).to_be_bytes());

        let response = paper.response(&[9; 32], 2);
        endpoint.handle_datagram(now(), source(), &response).unwrap();
        let session = established(&mut endpoint);
        assert_eq!(session.local_index(), paper.remote_index());
        let mut datagram = paper.seal(7, b"");
        assert_eq!(session.opening().open(&mut datagram).unwrap().counter, 7);
        assert_eq!(paper.open(&seal(&session, b"to the paper")), b"to the paper", "{suite:?}");
    }
}

#[test]
fn a_recorded_handshake_of_wireguard_go_is_answered_as_it_accepted_it() {
    let [initiation, response, packet, ..] = recorded();
    let mut endpoint = recorded_endpoint();
    endpoint.handle_datagram(now(), source(), &initiation).unwrap();

    assert_eq!(endpoint.poll_transmit().unwrap().datagram, response);
    assert_is_echo_request(&established(&mut endpoint), packet);
}

#[test]
fn a_recorded_answer_of_wireguard_go_is_taken_for_the_same_initiation() {
    let [.., initiation, response, packet] = recorded();
    let mut endpoint = recorded_endpoint();
    endpoint.connect(PeerId(1), Now { unix: Duration::from_secs(RECORDED_AT), ..now() });

    assert_eq!(endpoint.poll_transmit().unwrap().datagram, initiation);
    endpoint.handle_datagram(now(), source(), &response).unwrap();
    assert_is_echo_request(&established(&mut endpoint), packet);
}

/// The six datagrams of the recording, in its order.
fn recorded() -> [Vec<u8>; 6] {
    let text = include_str!("wireguard/wireguard-go.txt");
    let lines = text.lines().filter_map(|line| line.split_once(' ').filter(|(name, _)| *name != "#"));
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    lines.map(|(_, hex)| bytes(hex)).collect::<Vec<_>>().try_into().unwrap()
}

fn recorded_endpoint() -> Endpoint {
    let mut endpoint = Endpoint::new(PrivateKey::from_bytes([0x11; 32]), now().instant, [0x33; 32]);
    let settings = PeerSettings {
        public_key: PrivateKey::from_bytes([0x22; 32]).public_key(),
        preshared_key: Some(PresharedKey::from_bytes([0x44; 32])),
        suite: Suite::ChaChaPoly,
        keepalive: None,
    };
    endpoint.insert_peer(PeerId(1), settings).unwrap();
    endpoint
}

/// 84 bytes of ping, padded to 96.
fn assert_is_echo_request(session: &Session, mut packet: Vec<u8>) {
    let opened = session.opening().open(&mut packet).unwrap();
    let plaintext = &packet[opened.plaintext];
    assert_eq!((plaintext.len(), &plaintext[12..21]), (96, &[10, 9, 0, 1, 10, 9, 0, 2, 8][..]));
}

fn pair(suite: Suite) -> (Endpoint, Paper) {
    let ours = PrivateKey::from_bytes([1; 32]);
    let paper = Paper::new(suite, [2; 32], *ours.public_key().as_bytes(), [3; 32]);
    let mut endpoint = Endpoint::new(ours, now().instant, [4; 32]);
    let settings = PeerSettings {
        public_key: PrivateKey::from_bytes([2; 32]).public_key(),
        preshared_key: Some(PresharedKey::from_bytes([3; 32])),
        suite,
        keepalive: None,
    };
    endpoint.insert_peer(PeerId(1), settings).unwrap();
    (endpoint, paper)
}

fn established(endpoint: &mut Endpoint) -> std::sync::Arc<Session> {
    let Some(Event::Established { session, .. }) = endpoint.poll_event() else { panic!("no session") };
    session
}

fn seal(session: &Session, plaintext: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 32 + plaintext.len()];
    datagram[16..16 + plaintext.len()].copy_from_slice(plaintext);
    session.seal(session.reserve(1).unwrap(), 0, &mut datagram);
    datagram
}

fn now() -> Now {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    Now { instant: *START.get_or_init(Instant::now), unix: Duration::from_millis(1_000_000_000_500) }
}

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 51820))
}

const TIMESTAMP: [u8; 12] = [0x40, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];

/// When our recorded initiation was made, in seconds since 1970.
const RECORDED_AT: u64 = 1795256796;
