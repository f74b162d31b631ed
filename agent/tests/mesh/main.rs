//! Claims about a mesh of real agents in network namespaces. Needs root and /dev/net/tun.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod broadcast;
mod captured;
mod carriage;
mod check;
mod datagrams;
mod device;
#[path = "../replay/wire.rs"]
#[expect(dead_code, clippy::unwrap_in_result, reason = "written for the replays; these tests use its part")]
mod http;
mod identity;
mod impostor;
mod membership;
mod reload;
mod rotation;
mod secrets;
mod stream;
mod stream_of_bytes;
#[path = "../support/mod.rs"]
mod support;
mod trust;
mod wire;
mod wireguard;

/// Short timers, for tests that wait for one. `process` is the last group of the file, so this goes on there.
const QUICK: &str = "    timing:
      registrations:
        bootstrap_retry_interval: 0.5
        groom_interval: 0.5
        local: {reregistration_interval: 0.5, stale_threshold: 2}
        mesh: {reregistration_interval: 0.5, stale_threshold: 2}
";
