//! WireGuard sessions: handshake, seal, open, replay window and timers as state machines that are told the time. No
//! clock, no I/O.
//!
//! Source: J. Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel" (2020), called the paper below; the handshake
//! is `Noise_IKpsk2` (Noise Protocol Framework, revision 34).
//!
//! An [`Endpoint`] is one node towards all its peers: it makes handshakes and decides when a session is replaced. One
//! owner drives it. What comes out are [`Session`]s, which any number of packet threads use at once.
//!
//! ```text
//! datagrams of type 1 to 3 ──> Endpoint ──> Event::Established, Sendable, Retired ──> packet threads
//!                                 │ ^                                                  │
//!            poll_transmit <──────┘ └── times of traffic, first use (atomics) <── Session::seal, open
//! ```
#![forbid(unsafe_code)]

mod cookie;
mod endpoint;
mod key;
mod mac;
mod noise;
mod random;
mod replay;
mod session;
mod suite;
mod tai64n;
mod timers;
mod transport_key;
mod wire;

pub use endpoint::{Endpoint, Event, Now, PeerError, PeerSettings, PeerStatus, Refusal, Target, Transmit};
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use session::{OpenError, Opened, Opening, PeerId, Role, Session};
pub use suite::Suite;
pub use timers::Timers;
pub use wire::{MessageType, message_type, receiver_index};
