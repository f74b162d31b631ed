//! A wide-area link between two network namespaces, for measurements and tests where the kernel has no `netem`.
//!
//! Two layer-3 devices, one in each namespace; what one namespace sends into its device comes out of the other's after
//! the [`Impairments`] of the link. [`LinkQueue`] decides what becomes of each packet and is told the time; [`Link`]
//! reads, waits and writes.
#![forbid(unsafe_code)]

mod impairments;
mod link;
mod queue;

pub use impairments::{Block, Impairments, Percent, SetError};
pub use link::{End, Link, LinkError};
pub use queue::{Counters, Fate, LinkQueue};
