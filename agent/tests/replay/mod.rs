//! What the two replay tests share: the recordings of the original, their translation to a node of this run, and the odd
//! peers of the recordings, played once more.
#![expect(dead_code, reason = "each test binary uses its part")]

pub(crate) mod differences;
pub(crate) mod jwt;
pub(crate) mod node;
pub(crate) mod outcome;
pub(crate) mod peer;
pub(crate) mod raw;
pub(crate) mod recording;
pub(crate) mod run;
pub(crate) mod scene;
pub(crate) mod session;
pub(crate) mod stage;
pub(crate) mod transform;
pub(crate) mod wire;

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
