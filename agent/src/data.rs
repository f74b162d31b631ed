//! The packet path of the v0 protocol: TUN device to queue to lane, and from the server back to the device.

mod deliver;
mod device;
mod lane;
mod queue;
mod response;

pub(crate) use deliver::Delivery;
pub(crate) use device::{Device, forward};
pub(crate) use lane::run_lane;
pub(crate) use queue::Queue;
