//! A peer as the recordings had them: a node that behaves, unless its script says otherwise for a request.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;

use super::node::{Arrival, Common, Kind, Node};
use super::recording::text;
use super::session::Session;
use super::wire::{Message, PATIENCE};

/// A peer that listens until it is dropped.
pub(crate) struct Peer {
    stand: Arc<Listening>,
    listener: TcpListener,
}

/// What a peer does with a request.
pub(crate) enum Act {
    /// Sends these bytes.
    Answer(Vec<u8>),
    /// Answers as a node should.
    AsUsual,
    /// Closes the connection.
    Drop,
    /// Does this later.
    Late(Duration, Box<Self>),
    /// Waits until the other side gives up.
    Never,
}

/// The number counts the requests of this kind, from 0.
pub(crate) type Script = Box<dyn Fn(&Arrival, usize) -> Act + Send + Sync>;

struct Listening {
    node: Node,
    script: Script,
    arrivals: Mutex<Vec<Arrival>>,
    /// TLS connections that the agent broke off.
    broken: AtomicUsize,
    /// Set when the peer is dropped: connections that are still open answer no more.
    gone: AtomicBool,
}

impl Peer {
    /// Starts to listen at the port of the member's URL.
    pub(crate) fn start(common: &Common, local: Value, script: Script) -> Self {
        let port = text(&local["listen_url"]).trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
        let listener = common.underlay.listen(port);
        let stand = Listening {
            node: Node::new(common, local),
            script,
            arrivals: Mutex::default(),
            broken: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
        };
        let peer = Self { stand: Arc::new(stand), listener };
        let (stand, listener) = (Arc::clone(&peer.stand), peer.listener.try_clone().unwrap());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let stand = Arc::clone(&stand);
                std::thread::spawn(move || stand.converse(stream));
            }
        });
        peer
    }

    /// Joins the agent's mesh and returns the session it gave.
    pub(crate) fn join(&self, agent_id: &str) -> Session {
        let body = self.stand.node.registration();
        let answer = self.stand.node.post("/tunmesh/control/v0/registrations/register", agent_id, &body);
        assert_eq!(answer.status(), 200, "{} joins", self.stand.node.id());
        self.stand.node.session(agent_id)
    }

    /// Uses a session that was agreed on elsewhere.
    pub(crate) fn adopt(&self, session: Session) {
        self.stand.node.adopt(session);
    }

    /// The session that the agent signs with.
    pub(crate) fn newest(&self) -> Option<Session> {
        self.stand.node.newest()
    }

    /// Whether another of these peers is the same node at another URL, and newer.
    pub(crate) fn is_superseded(&self, by: &BTreeMap<u16, Self>) -> bool {
        by.values().rfind(|peer| peer.id() == self.id()).is_some_and(|last| !Arc::ptr_eq(&last.stand, &self.stand))
    }

    pub(crate) fn id(&self) -> String {
        self.stand.node.id()
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.stand.arrivals.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.stand.arrivals.lock().unwrap().iter().filter(|arrival| arrival.kind == kind).count()
    }

    /// TLS connections that the agent broke off, in the handshake or right after it.
    pub(crate) fn broken(&self) -> usize {
        self.stand.broken.load(Relaxed)
    }

    /// IP packets in the order they came.
    pub(crate) fn packets(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for arrival in self.arrivals() {
            packets.extend(arrival.packets());
        }
        packets
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stand.gone.store(true, Relaxed);
        // Wakes the thread that waits in accept, which owns a second descriptor of the same socket.
        let _closed = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
    }
}

impl Listening {
    fn converse(self: Arc<Self>, mut stream: TcpStream) {
        let _patience = stream.set_read_timeout(Some(PATIENCE));
        let mut tls = ServerConnection::new(Arc::clone(&self.node.common.tls)).unwrap();
        while tls.is_handshaking() {
            if tls.complete_io(&mut stream).is_err() {
                self.broken.fetch_add(1, Relaxed);
                return;
            }
        }
        let mut connection = BufReader::new(StreamOwned::new(tls, stream));
        loop {
            let request = match Message::read(&mut connection, false) {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(_) => {
                    // With TLS 1.3 a refused certificate shows after the handshake, instead of the first request.
                    self.broken.fetch_add(1, Relaxed);
                    return;
                }
            };
            if self.gone.load(Relaxed) {
                return;
            }
            let arrival = self.node.judge(&request);
            let mut arrivals = self.arrivals.lock().unwrap();
            let number = arrivals.iter().filter(|before| before.kind == arrival.kind).count();
            arrivals.push(arrival.clone());
            drop(arrivals);
            let mut act = (self.script)(&arrival, number);
            if let Act::Late(wait, then) = act {
                // The slowness of this peer is what is tested.
                std::thread::sleep(wait);
                act = *then;
            }
            let answer = match act {
                Act::Answer(bytes) => bytes,
                Act::AsUsual | Act::Late(..) => self.node.answer(&arrival),
                Act::Drop => return,
                Act::Never => {
                    let _given_up = Message::read(&mut connection, false);
                    return;
                }
            };
            if connection.get_mut().write_all(&answer).is_err() || answer.windows(CLOSE.len()).any(|part| part == CLOSE)
            {
                return;
            }
        }
    }
}

const CLOSE: &[u8] = b"connection: close";
