//! The packet path of the v0 protocol: queue to lane, and from the server back to the device.

mod deliver;
mod lane;
mod queue;
mod response;

pub(crate) use deliver::Delivery;
pub(crate) use lane::run_lane;
pub(crate) use queue::{Queue, QueuedPacket};
