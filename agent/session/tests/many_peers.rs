//! Memory for a thousand peers stays within what an agent has for them.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tunmesh_session::{Endpoint, Event, Now, PeerId, Session, Suite, receiver_index};

use support::{address, id, private, seal, settings};

/// The only test of its binary: what the process has is what this test has.
#[test]
fn a_thousand_peers_take_a_kilobyte_each_and_three_sessions_of_each_nine_more() {
    let start = Now { instant: Instant::now(), unix: Duration::from_secs(1_790_000_000) };
    let mut hub = Hub { endpoint: Endpoint::new(private(0), start.instant, [1; 32]), sessions: BTreeMap::new() };
    // What the allocator and the cryptography need once.
    hub.endpoint.insert_peer(id(PEERS + 1), settings(PEERS + 1, Suite::Aegis)).unwrap();
    hub.meet(PEERS + 1, start);
    let before = resident();

    for i in 1..=PEERS {
        hub.endpoint.insert_peer(id(i), settings(i, Suite::Aegis)).unwrap();
    }
    let known = resident() - before;
    for round in 1..=3 {
        let passed = Duration::from_secs(10 * round);
        let now = Now { instant: start.instant + passed, unix: start.unix + passed };
        for i in 1..=PEERS {
            // Handshakes beyond 500 a second would be asked for a cookie.
            let spread = Duration::from_millis(5) * u32::try_from(i).unwrap();
            hub.meet(i, Now { instant: now.instant + spread, unix: now.unix + spread });
        }
    }
    let used = resident() - before;

    assert_eq!(hub.sessions.len(), 3 * PEERS + 1);
    println!("{PEERS} peers: {known} KB known, {used} KB with three sessions each");
    assert!(known <= PEERS, "{known} KB for {PEERS} peers without a session");
    assert!(used <= 10 * PEERS, "{used} KB for {PEERS} peers with three sessions each");
}

struct Hub {
    endpoint: Endpoint,
    sessions: BTreeMap<u32, Arc<Session>>,
}

impl Hub {
    /// Node `i`, started anew, makes a session with the hub; the session before gets used only now.
    fn meet(&mut self, i: usize, now: Now) {
        let mut peer = Endpoint::new(private(i), now.instant, [i as u8; 32]);
        peer.insert_peer(PeerId(0), settings(0, Suite::Aegis)).unwrap();
        peer.connect(PeerId(0), now);
        let initiation = peer.poll_transmit().unwrap().datagram;
        self.endpoint.handle_datagram(now, address(0), &initiation).unwrap();
        peer.handle_datagram(now, address(0), &self.endpoint.poll_transmit().unwrap().datagram).unwrap();
        self.take_events();
        let Some(Event::Established { session, .. }) = peer.poll_event() else { panic!("no session") };
        if self.sessions.values().filter(|session| session.peer() == id(i)).count() < 3 {
            let mut keepalive = seal(&session, b"").unwrap();
            let ours = &self.sessions[&receiver_index(&keepalive).unwrap()];
            ours.opening().open(&mut keepalive).unwrap();
            self.endpoint.session_confirmed(id(i), ours.local_index(), now.instant);
            self.take_events();
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Established { session, .. } => {
                    self.sessions.insert(session.local_index(), session);
                }
                Event::Retired { local_index, .. } => {
                    self.sessions.remove(&local_index);
                }
                Event::Keepalive { .. } | Event::Sendable { .. } | Event::Unreachable { .. } => {}
            }
        }
    }
}

/// Resident memory of this process in KB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

const PEERS: usize = 1000;
