//! Time to seal and to open one packet of 1,420 bytes, and to make a handshake, in nanoseconds: name, tab, median of nine.
#![expect(clippy::print_stdout, reason = "the numbers are what it is for")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tunmesh_session::{Endpoint, Event, Now, PeerId, PeerSettings, PrivateKey, Session, Suite};

fn main() {
    for (suite, name) in [(Suite::Aegis, "aegis"), (Suite::ChaChaPoly, "chachapoly")] {
        let [sender, receiver] = sessions(suite);
        let mut packets = vec![vec![0u8; Session::HEADER_LEN + PACKET_LEN + Session::TAG_LEN]; BURST];
        let (mut sealing, mut opening) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let [mut seal, mut open] = [Duration::ZERO; 2];
            for _ in 0..BURSTS {
                let start = Instant::now();
                let first = sender.reserve(BURST as u64).expect("the session is new");
                for (counter, packet) in (first..).zip(&mut packets) {
                    sender.seal(counter, 0, black_box(packet));
                }
                seal += start.elapsed();
                let start = Instant::now();
                let mut window = receiver.opening();
                for packet in &mut packets {
                    window.open(black_box(packet)).expect("it was just sealed");
                }
                open += start.elapsed();
            }
            sealing.push(seal.as_nanos() / (BURST * BURSTS) as u128);
            opening.push(open.as_nanos() / (BURST * BURSTS) as u128);
        }
        report(&format!("seal-{name}"), sealing);
        report(&format!("open-{name}"), opening);
        let handshake = || {
            let start = Instant::now();
            (0..HANDSHAKES).for_each(|_| drop(black_box(sessions(suite))));
            start.elapsed().as_nanos() / HANDSHAKES
        };
        report(&format!("handshake-both-ends-{name}"), (0..ROUNDS).map(|_| handshake()).collect());
    }
}

fn report(name: &str, mut figures: Vec<u128>) {
    figures.sort_unstable();
    println!("{name}\t{}", figures[figures.len() / 2]);
}

/// Both ends of a new session, the initiator first.
fn sessions(suite: Suite) -> [Arc<Session>; 2] {
    let now = Now { instant: Instant::now(), unix: Duration::from_secs(1_790_000_000) };
    let keys = [[1; 32], [2; 32]];
    let [mut a, mut b] = [0, 1].map(|i| {
        let mut endpoint = Endpoint::new(PrivateKey::from_bytes(keys[i]), now.instant, [5 + i as u8; 32]);
        let public_key = PrivateKey::from_bytes(keys[1 - i]).public_key();
        let settings = PeerSettings { public_key, preshared_key: None, suite, keepalive: None };
        endpoint.insert_peer(PeerId(0), settings).expect("the first peer is taken");
        endpoint
    });
    a.connect(PeerId(0), now);
    pass(&mut a, &mut b, now);
    pass(&mut b, &mut a, now);
    [a, b].map(|mut endpoint| match endpoint.poll_event() {
        Some(Event::Established { session, .. }) => session,
        event => panic!("not a session: {event:?}"),
    })
}

fn pass(from: &mut Endpoint, to: &mut Endpoint, now: Now) {
    let transmit = from.poll_transmit().expect("a message of the handshake");
    let source = SocketAddr::from(([192, 0, 2, 1], 51820));
    to.handle_datagram(now, source, &transmit.datagram).expect("a good message");
}

const PACKET_LEN: usize = 1420;
const BURST: usize = 64;
const BURSTS: usize = 400;
const ROUNDS: usize = 9;
const HANDSHAKES: u128 = 50;
