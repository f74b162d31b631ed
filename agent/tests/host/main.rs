//! Claims about what an agent takes from its host, and what it leaves. Needs root and /dev/net/tun.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod confinement;
mod connections;
mod handover;
mod leftovers;
mod refusals;
mod stopping;
mod supervision;
#[path = "../support/mod.rs"]
mod support;
