//! One node among our own agents: the v0 core, the gossip, the sessions and the paths to its peers, tied together as a
//! state machine that is told the time. No clock, no socket.
//!
//! ```text
//! registrations, outcomes of actions ──> Node ──> Action, Event ──────────────────┐
//!                                        │ ^                                      │
//!                         joined, left <─┘ └─ vouch, unvouch                      │
//!                                │             │                                  v
//! gossip datagrams ──────────────┼──────> Membership ──> datagrams ───────────> Output
//! handshakes ────────────────────┼──────> Endpoint ────> datagrams, sessions ───> ^
//! pongs, packets waiting ────────┴──────> Path, one per peer ──> ways, pings ─────┘
//! ```
//!
//! [`Core`] owns all four. Whoever owns sockets and clocks hands in what came and does what [`Output`] says.
#![forbid(unsafe_code)]

mod control;
mod core;
mod keys;
mod output;
mod record;
mod settings;
mod view;

pub use control::{Control, ControlKind};
pub use core::Core;
pub use keys::derive;
pub use output::{Destination, LinkChange, Note, Output, Refused};
pub use record::capabilities;
pub use settings::{Change, Settings};
pub use tunmesh_membership::Now;
pub use view::{Contest, GossipView, PathView};
