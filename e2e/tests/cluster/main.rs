//! Tun Mesh on a real cluster: what issue after issue of a person's day with it looks like, from apply to delete.
//!
//! Needs a cluster with this tree's Tun Mesh on it and root on the machine it runs on: `make e2e` provides both. The tests
//! run one at a time, as some take the operator or a node away.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]
#![expect(clippy::print_stdout, reason = "figures are part of what a test shows")]

mod support;

mod addresses;
mod hostile;
mod latency;
mod mesh;
mod outside;
mod restarts;
mod webhook;
