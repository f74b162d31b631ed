//! Tun Mesh on a real cluster, from apply to delete, with real kubelets and real traffic.
//!
//! Needs a cluster with this tree's Tun Mesh on it, and root on the machine that the cluster is on: `make e2e`. The tests
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
