//! The mesh as a whole: networks, authority, how members find each other, status, and the end of it.

mod bootstrap;
mod cleanup;
mod look;
mod members;
mod networks;
mod publish;
mod reconcile;
mod status;
mod surroundings;
mod trust;

pub use bootstrap::{Endpoint, service, slices};
pub(crate) use look::keep as keep_looking;
pub use networks::{Refused, choose};
pub(crate) use reconcile::reconcile;
