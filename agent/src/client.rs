//! Requests to other nodes: one short-lived or kept-alive HTTPS connection each, the original's timeouts.

mod channel;
mod exchange;

pub(crate) use channel::{Channel, RequestError, connect, prove_member};
pub(crate) use exchange::{Exchange, ExchangeError, FailureKind, Features, PIPELINING};
