//! Splitting and coalescing, seen from outside: what goes in comes out.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod coalesce;
mod packets;
mod properties;
mod split;
