//! The packet path: packet threads between TUN device and UDP sockets, and the lanes of the v0 protocol.
//!
//! A packet thread does all of a packet's work itself: read, route, seal, send, and the same on the way back. What it
//! cannot decide it hands to the owner; what does not go by datagrams it puts into the peer's queue for its lane.

mod arena;
mod device;
mod link;
mod notice;
mod outgoing;
mod receive;
mod relay;
mod socket;
mod transmit;
mod v0;
mod worker;

pub(crate) use device::Device;
pub(crate) use link::{Inbound, Link};
pub(crate) use notice::{Notice, Noticed, Notices};
pub(crate) use outgoing::segments_per_run;
pub(crate) use relay::Relay;
pub(crate) use socket::Socket;
pub(crate) use transmit::complete;
pub(crate) use v0::{Delivery, Queue, QueuedPacket, run_lane};
pub(crate) use worker::start;
