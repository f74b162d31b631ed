//! The operator: what it decides (pure), what it builds (pure), and what talks to the API server.
//!
//! ```text
//! observe    hub, run: watches keep stores; a change names whom it concerns
//! decide     addresses, trust, inject, mesh::networks, mesh::status, member::config: pure
//! write      claims, member, mesh: the only writers of our API; waiting: of a field of others' status
//! serve      webhook, metrics;  helper: the part on each node
//! ```
#![forbid(unsafe_code)]

pub mod addresses;
pub mod check;
mod claims;
pub mod conditions;
pub mod context;
pub mod error;
pub mod helper;
mod hub;
pub mod inject;
pub mod known;
mod labels;
pub mod layout;
pub mod member;
pub mod mesh;
pub mod metrics;
mod pods;
pub mod run;
pub mod serve;
pub mod trust;
mod waiting;
pub mod webhook;
