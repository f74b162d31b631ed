use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::session::{PeerId, Role, Session};

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A handshake succeeded: packets of `session` are to be opened from now on.
    Established {
        /// Whose it is.
        peer: PeerId,
        /// The new session. Not to be sent on before [`Event::Sendable`].
        session: Arc<Session>,
        /// Which side of the handshake we were.
        role: Role,
        /// Where the authenticated message came from.
        source: SocketAddr,
    },
    /// An empty message is to be sent now, with [`Session::seal`]. It counts as sent. Once something else was sent on the
    /// session since the event, nobody misses it.
    Keepalive {
        /// To whom.
        peer: PeerId,
        /// The session to send it on.
        session: Arc<Session>,
    },
    /// A session has ended: its index is to be forgotten.
    Retired {
        /// Whose it was.
        peer: PeerId,
        /// [`Session::local_index`].
        local_index: u32,
    },
    /// `session` is the one to send on from now on.
    Sendable {
        /// Whose it is.
        peer: PeerId,
        /// Established before.
        session: Arc<Session>,
    },
    /// Nobody answered for `rekey_attempt_time`; packets that wait for the peer are to be dropped. A session there is stays
    /// until it expires. [`Endpoint::connect`](super::Endpoint::connect) tries again.
    Unreachable {
        /// Who did not answer.
        peer: PeerId,
    },
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: Target,
    /// The whole UDP payload.
    pub datagram: Vec<u8>,
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To where a datagram came from that this one answers.
    Address(SocketAddr),
    /// To wherever the peer is.
    Peer(PeerId),
}

/// What is known of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// When the last handshake was done.
    pub last_handshake: Option<Instant>,
    /// Whether there is a session to send on.
    pub sendable: bool,
}

/// Why a handshake message was not heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many handshakes: it was answered with a cookie. The sender may come back with it.
    #[error("too many handshakes, a cookie was sent instead of an answer")]
    CookieRequired,
    /// It was not made with the keys it should have been made with.
    #[error("the message does not authenticate")]
    Forged,
    /// No handshake message has this length and type.
    #[error("no handshake message has this length and type")]
    Malformed,
    /// The peer sent one less than `initiation_interval` ago.
    #[error("the peer sends initiations too fast")]
    PeerTooFast,
    /// It is not newer than one of the same peer that was heeded.
    #[error("the initiation is not newer than the last one of the peer")]
    Replayed,
    /// Too many handshakes, and too many of them from this address.
    #[error("the address sends handshakes too fast")]
    SourceTooFast,
    /// It answers nothing that we sent, or too late.
    #[error("the receiver index belongs to no handshake")]
    UnknownIndex,
    /// No peer has the public key of its sender.
    #[error("no peer has the public key of the sender")]
    UnknownPeer,
    /// mac1 is wrong: it was made by somebody who does not know our public key, or damaged under way.
    #[error("mac1 is wrong")]
    WrongMac,
    /// The peer is known with another suite.
    #[error("the peer uses another suite")]
    WrongSuite,
}
