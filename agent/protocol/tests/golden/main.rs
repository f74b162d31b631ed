//! Holds the protocol against what nodes of the original sent and accepted.
#![expect(clippy::unwrap_in_result, clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

mod packets;
mod recording;
mod registrations;
mod sessions;
mod tokens;
mod values;
