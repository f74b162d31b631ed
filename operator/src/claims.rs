//! Claims of addresses, carried to the API server: how a member gets one, and when it is free again.

mod review;
mod take;

pub(crate) use review::{free, reconcile};
pub(crate) use take::{Asked, Outcome, holds, take};
