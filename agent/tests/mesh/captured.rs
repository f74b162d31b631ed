//! Messages that somebody on the way kept and sends again, as they were or altered.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tunmesh_membership::DATAGRAM_TYPE;
use tunmesh_protocol::{NodeId, Window, Windows};

use crate::impostor::Impostor;
use crate::support::{Agent, Lab, SLOW, overlay, wait_for};
use crate::wire::udp;

#[test]
fn a_captured_request_is_refused_elsewhere_altered_and_after_its_time() {
    let lab = Lab::new(3);
    let _agents = [1, 2].map(|number| lab.start(number, ""));
    lab.wait_for_mesh(&[1, 2]);
    let first: NodeId = lab.ask(1).unwrap()["node_id"].as_str().unwrap().parse().unwrap();
    let member = Impostor::start(&lab, 3, "cert");
    let body = member.registration();
    let windows = Windows { validity: Window::integer(3), ..Windows::default() };
    let post = |number, header: &str, body: &[u8]| {
        member.post(number, "/tunmesh/control/v0/registrations/register", header, body)
    };

    let made = Instant::now();
    let captured = member.header(&member.id(), &first, &body, &windows);
    assert_eq!(post(1, &captured, &body), 200);

    assert_eq!(post(2, &captured, &body), 401, "at another node");
    let mut altered = body.clone();
    let stamp = altered.iter().rposition(u8::is_ascii_digit).unwrap();
    altered[stamp] = if altered[stamp] == b'0' { b'1' } else { b'0' };
    assert_eq!(post(1, &captured, &altered), 401, "with another body");
    for part in 0..3 {
        let mut parts: Vec<_> = captured.split('.').map(String::from).collect();
        let middle = parts[part].len() - 5;
        let letter = if parts[part].as_bytes()[middle] == b'A' { "B" } else { "A" };
        parts[part].replace_range(middle..=middle, letter);
        assert_eq!(post(1, &parts.join("."), &body), 401, "with another part {part}");
    }
    wait_for("the captured request is refused", SLOW, || post(1, &captured, &body) == 401);
    assert!(made.elapsed() >= Duration::from_secs(2), "{:?}", made.elapsed());

    let fresh = member.header(&member.id(), &first, &body, &windows);
    assert_eq!(post(1, &fresh, &body), 200);
}

#[test]
fn a_captured_datagram_of_packets_is_delivered_once() {
    let (lab, relay, _agents) = relayed();
    let (sender, receiver) = (udp(&lab, 1, 7000), udp(&lab, 2, 7000));
    relay.forget();
    sender.send_to(b"once", (overlay(2), 7000)).unwrap();
    assert_eq!(received(&receiver), b"once");
    let captured: Vec<_> = relay.captured(TO_SECOND).into_iter().filter(|datagram| datagram[0] == TRANSPORT).collect();
    assert!(!captured.is_empty());
    let (replayed, forged, no_session) = (lab.drops(2, "replayed"), lab.drops(2, "forged"), lab.drops(2, "no_session"));
    let count = captured.len() as u64;

    for datagram in &captured {
        relay.send(TO_SECOND, datagram);
    }
    wait_for("the replays are counted", SLOW, || lab.drops(2, "replayed") >= replayed + count);

    for datagram in &captured {
        let mut altered = datagram.clone();
        *altered.last_mut().unwrap() ^= 1;
        // With a counter that was not used yet, so that it is not refused for that alone.
        altered[9] = altered[9].wrapping_add(1);
        relay.send(TO_SECOND, &altered);
        let mut renumbered = datagram.clone();
        renumbered[9] = renumbered[9].wrapping_add(2);
        relay.send(TO_SECOND, &renumbered);
        let mut readdressed = datagram.clone();
        readdressed[4] ^= 1;
        relay.send(TO_SECOND, &readdressed);
    }
    wait_for("the forgeries are counted", SLOW, || lab.drops(2, "forged") >= forged + 2 * count);
    wait_for("the strays are counted", SLOW, || lab.drops(2, "no_session") >= no_session + count);

    // What comes next is what was sent next.
    sender.send_to(b"then", (overlay(2), 7000)).unwrap();
    assert_eq!(received(&receiver), b"then");
    assert_eq!(lab.peer(1, 2).unwrap()["path"], "udp");
}

#[test]
fn a_captured_datagram_of_the_gossip_is_refused() {
    let (lab, relay, _agents) = relayed();
    let gossip = |of: &str| lab.ask(2).unwrap()["gossip"][of].as_u64().unwrap();
    let mut captured = Vec::new();
    wait_for("there is gossip", SLOW, || {
        captured = relay.captured(TO_SECOND);
        captured.retain(|datagram| datagram[0] == DATAGRAM_TYPE);
        captured.len() >= 3
    });
    let (id, members) = (lab.peer(2, 1).unwrap()["node_id"].clone(), gossip("members"));

    for altering in [false, true] {
        let before = gossip("datagrams_refused");
        for datagram in &captured {
            let mut datagram = datagram.clone();
            *datagram.last_mut().unwrap() ^= u8::from(altering);
            relay.send(TO_SECOND, &datagram);
        }
        let count = captured.len() as u64;
        wait_for("all are refused", SLOW, || gossip("datagrams_refused") >= before + count);
    }

    assert_eq!((lab.peer(2, 1).unwrap()["node_id"].clone(), gossip("members")), (id, members));
    assert!(lab.pings(1, 2));
}

/// Two agents that reach each other's UDP ports through a relay only.
fn relayed() -> (Lab, Relay, [Agent; 2]) {
    let lab = Lab::new(3);
    let relay = Relay::start(&lab, 3);
    let agents = [1, 2].map(|number| {
        let file = lab.config(number, "");
        let plane = format!("data_plane: {{paths: [udp], advertise_endpoints: [\"10.77.0.3:{}\"]}}", 9000 + number);
        lab.edit(&file, "networking:\n", &format!("networking:\n    {plane}\n"));
        lab.start_from(number, &file)
    });
    lab.wait_for_mesh(&[1, 2]);
    for (from, to) in [(1, 2), (2, 1)] {
        let endpoint = format!("10.77.0.3:{}", 9000 + to);
        wait_for("datagrams go through the relay", SLOW, || {
            lab.peer(from, to).is_some_and(|peer| peer["path"] == "udp" && peer["endpoint"] == *endpoint)
        });
    }
    (lab, relay, agents)
}

fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    let (len, _) = socket.recv_from(&mut buffer).unwrap();
    buffer.truncate(len);
    buffer
}

/// Passes datagrams between nodes 1 and 2 and keeps a copy. What comes in on one port, which stands for one node, leaves to
/// that node from the other port, which stands for the other.
struct Relay {
    ports: [Arc<UdpSocket>; 2],
    captured: Arc<Mutex<Captured>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Datagrams and their directions, oldest first.
type Captured = Vec<(usize, Vec<u8>)>;

impl Relay {
    /// At ports 9001 and 9002 of the namespace of node `number`.
    fn start(lab: &Lab, number: usize) -> Self {
        let bind = |port: u16| {
            let socket = lab.netns(number).run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap().unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            Arc::new(socket)
        };
        let ports = [bind(9001), bind(9002)];
        let (captured, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let pass = |to: usize| {
            let (from, out) = (Arc::clone(&ports[to]), Arc::clone(&ports[1 - to]));
            let (captured, stop): (Arc<Mutex<Captured>>, _) = (Arc::clone(&captured), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !stop.load(Relaxed) {
                    if let Ok(len) = from.recv(&mut buffer) {
                        captured.lock().unwrap().push((to, buffer[..len].to_vec()));
                        let _not_up_yet = out.send_to(&buffer[..len], node(to));
                    }
                }
            })
        };
        let threads = vec![pass(0), pass(TO_SECOND)];
        Self { ports, captured, stop, threads }
    }

    /// Sends any datagram as if the other node had.
    fn send(&self, to: usize, datagram: &[u8]) {
        self.ports[1 - to].send_to(datagram, node(to)).unwrap();
    }

    /// All that went to one node so far.
    fn captured(&self, to: usize) -> Vec<Vec<u8>> {
        let captured = self.captured.lock().unwrap();
        captured.iter().filter(|(direction, _)| *direction == to).map(|(_, datagram)| datagram.clone()).collect()
    }

    fn forget(&self) {
        self.captured.lock().unwrap().clear();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

fn node(index: usize) -> SocketAddr {
    (Ipv4Addr::new(10, 77, 0, u8::try_from(index + 1).unwrap()), 4567).into()
}

/// Index of the direction to node 2.
const TO_SECOND: usize = 1;

/// First byte of a datagram with a packet.
const TRANSPORT: u8 = 4;
