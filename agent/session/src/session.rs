mod activity;
mod opening;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::noise::TransportKeys;
use crate::replay::ReplayWindow;
use crate::suite::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES, Suite};
use crate::transport_key::{TAG_LEN, TransportKey};
use crate::wire::TRANSPORT;

pub(crate) use self::activity::Activity;
pub use self::opening::{OpenError, Opened, Opening};

/// One key generation of one pair: seals and opens packets (paper, section 5.4.6).
///
/// Any number of threads use it at once; only the replay window is locked, once per burst by [`opening`](Self::opening).
/// It knows no time: whoever uses it reports traffic with [`note_sent`](Self::note_sent) and
/// [`note_received`](Self::note_received), and the endpoint that made it ends it.
///
/// A plaintext may end in padding, as WireGuard's do, to a multiple of 16 bytes; what is given is sealed as it is, unpadded
/// packets are understood everywhere. An empty plaintext is a keepalive.
pub struct Session {
    peer: PeerId,
    suite: Suite,
    role: Role,
    local_index: u32,
    remote_index: u32,
    sending: TransportKey,
    receiving: TransportKey,
    /// The counter of the next message to be sent.
    next_counter: AtomicU64,
    window: Mutex<ReplayWindow>,
    /// Whether the peer proved to have the keys: as the initiator at once, as the responder by the first message opened.
    confirmed: AtomicBool,
    expired: AtomicBool,
    activity: Arc<Activity>,
}

impl Session {
    /// Bytes before the plaintext of a datagram.
    pub const HEADER_LEN: usize = 16;
    /// Bytes after the plaintext of a datagram.
    pub const TAG_LEN: usize = TAG_LEN;

    pub(crate) fn new(
        peer: PeerId,
        suite: Suite,
        role: Role,
        (local_index, remote_index): (u32, u32),
        keys: &TransportKeys,
        activity: Arc<Activity>,
    ) -> Self {
        Self {
            peer,
            suite,
            role,
            local_index,
            remote_index,
            sending: TransportKey::new(suite, &keys.sending),
            receiving: TransportKey::new(suite, &keys.receiving),
            next_counter: AtomicU64::new(0),
            window: Mutex::new(ReplayWindow::new()),
            confirmed: AtomicBool::new(role == Role::Initiator),
            expired: AtomicBool::new(false),
            activity,
        }
    }

    /// The index that stands in transport messages to us.
    pub fn local_index(&self) -> u32 {
        self.local_index
    }

    /// Its cryptography.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Whom it is with.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Which side of the handshake we were.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether the peer proved to have the keys. Before, nothing may be sent but on [`Event::Sendable`](crate::Event).
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Takes `count` counters for [`seal`](Self::seal), returns the first; `None` once the session has ended or has no so
    /// many left.
    pub fn reserve(&self, count: u64) -> Option<u64> {
        if self.is_expired() {
            return None;
        }
        let take = |next: u64| next.checked_add(count).filter(|end| *end <= REJECT_AFTER_MESSAGES);
        self.next_counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()
    }

    /// Makes `datagram` a transport message: 16 bytes of room, the plaintext, 16 bytes of room. The room is filled, the
    /// plaintext replaced.
    ///
    /// `counter` is one that [`reserve`](Self::reserve) gave, used once. `flags` reach the peer unread and authenticated;
    /// with `ChaChaPoly` there are none and zero is sent.
    ///
    /// # Panics
    /// If `datagram` is shorter than the 32 bytes of room.
    pub fn seal(&self, counter: u64, flags: u8, datagram: &mut [u8]) {
        let (header, rest) = datagram.split_at_mut(Self::HEADER_LEN);
        let (plaintext, tag) = rest.split_at_mut(rest.len() - Self::TAG_LEN);
        let flags = match self.suite {
            Suite::Aegis => flags,
            Suite::ChaChaPoly => 0,
        };
        header[..4].copy_from_slice(&[TRANSPORT, flags, 0, 0]);
        header[4..8].copy_from_slice(&self.remote_index.to_le_bytes());
        header[8..].copy_from_slice(&counter.to_le_bytes());
        let sealed = self.sending.seal(counter, self.authenticated(header), plaintext);
        tag.copy_from_slice(&sealed);
    }

    /// Locks the replay window, for a burst of datagrams to be opened.
    pub fn opening(&self) -> Opening<'_> {
        Opening { session: self, window: self.window.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Takes note that a message was sent; `data` if it was not a keepalive. A coarse time will do.
    pub fn note_sent(&self, now: Instant, data: bool) {
        self.activity.note_sent(now, data);
    }

    /// Takes note that a message was opened; `data` if it was not a keepalive. A coarse time will do.
    pub fn note_received(&self, now: Instant, data: bool) {
        self.activity.note_received(now, data);
    }

    /// Ends it: from now on it neither reserves nor opens.
    pub(crate) fn expire(&self) {
        self.expired.store(true, Ordering::Release);
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Acquire)
    }

    /// Whether so many messages were sent that it is to be replaced.
    pub(crate) fn is_worn(&self) -> bool {
        self.next_counter.load(Ordering::Relaxed) >= REKEY_AFTER_MESSAGES
    }

    /// What of a `header` is authenticated beside the plaintext.
    fn authenticated<'a>(&self, header: &'a [u8]) -> &'a [u8] {
        match self.suite {
            Suite::Aegis => header,
            Suite::ChaChaPoly => &[],
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.peer)
            .field("suite", &self.suite)
            .field("role", &self.role)
            .field("local_index", &self.local_index)
            .field("remote_index", &self.remote_index)
            .finish_non_exhaustive()
    }
}

/// A peer as its owner calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// Side of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sent the first message.
    Initiator,
    /// Sent the second message.
    Responder,
}
