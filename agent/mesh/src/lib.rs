//! One node: members, routes, sessions and packet decisions as a state machine that is told the time. No clock, no socket.
//!
//! [`Node`] decides whom to talk to and when; whoever owns sockets and clocks carries it out and reports back.
//! [`RouteTable`] is an immutable snapshot of its routes, for threads that decide about packets without asking the node.
#![forbid(unsafe_code)]

mod agenda;
mod drop_reason;
mod node;
mod path;
mod peers;
mod place;
mod route_table;
mod settings;
mod vouched;

pub use drop_reason::DropReason;
pub use node::{
    Action, Contested, Departure, Event, Health, MeetFailure, MemberView, Node, Proof, Refusal, RegisterFailure,
    Screening,
};
pub use path::{Offers, Path, PathAction, Quality, TICK, Way};
pub use route_table::{Inbound, Outbound, RouteTable};
pub use settings::{BootstrapGroup, Device, Ipv6Settings, Retries, Settings, Timers};
pub use vouched::Vouched;
