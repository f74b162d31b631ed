//! The life of one node, told through its public interface.

mod support;

#[path = "life/bootstrap.rs"]
mod bootstrap;
#[path = "life/claims.rs"]
mod claims;
#[path = "life/liveness.rs"]
mod liveness;
#[path = "life/sessions.rs"]
mod sessions;
