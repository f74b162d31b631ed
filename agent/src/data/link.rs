//! How packets reach one peer right now: written by the owner, read by packet threads for every burst.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwapOption, Guard};
use tunmesh_mesh::Way;
use tunmesh_session::Session;

use crate::peers::Peer;

/// The link to one peer.
pub(crate) struct Link {
    way: AtomicU8,
    session: ArcSwapOption<Session>,
    endpoint: ArcSwapOption<SocketAddr>,
    /// Largest IP packet that fits a datagram on the way there, in bytes.
    largest: AtomicUsize,
    /// Whether that is the last word.
    is_settled: AtomicBool,
    /// Complete packets that wait for the way to be found.
    waiting: Mutex<VecDeque<Vec<u8>>>,
    /// Whether the owner was asked for a way already.
    asked: AtomicBool,
}

impl Link {
    pub(crate) fn new(way: Way) -> Self {
        Self {
            way: AtomicU8::new(way as u8),
            session: ArcSwapOption::empty(),
            endpoint: ArcSwapOption::empty(),
            largest: AtomicUsize::new(usize::MAX),
            is_settled: AtomicBool::new(false),
            waiting: Mutex::default(),
            asked: AtomicBool::new(false),
        }
    }

    pub(crate) fn way(&self) -> Way {
        Way::ALL[usize::from(self.way.load(Relaxed))]
    }

    /// Sets the way for packets from now on; those that wait are the caller's to send or drop.
    pub(crate) fn set_way(&self, way: Way) {
        self.way.store(way as u8, Relaxed);
        self.ask_again();
    }

    /// The session to seal with.
    pub(crate) fn session(&self) -> Guard<Option<Arc<Session>>> {
        self.session.load()
    }

    pub(crate) fn set_session(&self, session: Option<Arc<Session>>) {
        self.session.store(session);
    }

    /// Where the peer was last heard from, or is said to be.
    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        self.endpoint.load().as_deref().copied()
    }

    /// Takes note of where an authenticated datagram of the peer came from, or where to try.
    pub(crate) fn set_endpoint(&self, endpoint: SocketAddr) {
        if self.endpoint() != Some(endpoint) {
            self.endpoint.store(Some(Arc::new(endpoint)));
        }
    }

    pub(crate) fn largest(&self) -> usize {
        self.largest.load(Relaxed)
    }

    /// Whether senders of larger packets are to be told.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled.load(Relaxed)
    }

    pub(crate) fn set_largest(&self, bytes: usize, settled: bool) {
        self.largest.store(bytes, Relaxed);
        self.is_settled.store(settled, Relaxed);
    }

    /// Keeps a packet until a way is found; the oldest, which is returned, gives way to it.
    pub(crate) fn wait(&self, packet: Vec<u8>) -> Option<Vec<u8>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = if waiting.len() >= MAX_WAITING { waiting.pop_front() } else { None };
        waiting.push_back(packet);
        dropped
    }

    /// Whether the owner is to be asked for a way: true once, until a way was set or given up.
    pub(crate) fn ask(&self) -> bool {
        !self.asked.swap(true, Relaxed)
    }

    /// Has the next packet ask again.
    pub(crate) fn ask_again(&self) {
        self.asked.store(false, Relaxed);
    }

    /// The packets that waited, oldest first.
    pub(crate) fn take_waiting(&self) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A session in which a peer sends to us, by our receiver index.
pub(crate) struct Inbound {
    pub(crate) peer: Arc<Peer>,
    pub(crate) session: Arc<Session>,
}

/// Packets of one peer that wait for a way: a burst of new connections, not a stream.
const MAX_WAITING: usize = 64;
