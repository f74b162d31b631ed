//! Addresses of members: which one a member gets, and when it is free again.
//!
//! The lock is the API server's: a claim is the creation of a [`TunMeshAddress`](tunmesh_crds::TunMeshAddress), which it
//! takes once per mesh and address. What an operator remembers only saves it questions, so neither a stale cache nor a
//! second operator can give one address to two members.
//!
//! ```text
//! pod without address -> Claiming: create, or read what is there, until one claim is the pod's
//! claim, owner gone   -> review:   Claimed -> Released -> Quarantined -> deleted
//! ```

mod claiming;
mod pools;
mod review;

pub use claiming::{Claiming, Holder, Step};
pub use pools::Pools;
pub use review::{Owner, Phase, Rules, Verdict, rest, review};
