//! Packets in TLS streams, for where UDP is blocked: capsules in an HTTP/2 extended CONNECT (RFC 8441, RFC 9297, RFC 9484) on
//! the port of the control API.
//!
//! Each end opens a stream of its own for what it sends, as it does with requests of the v0 protocol, and closes it after
//! [`IDLE_LIMIT`]. A packet travels as the TUN device gave it: a super packet stays whole, its checksum open, and the device at
//! the other end takes it so.

mod deliver;
mod open;
mod queue;
mod receive;
mod send;

use std::time::Duration;

pub(crate) use queue::{QueuedCapsule, StreamQueue};
pub(crate) use receive::receive;
pub(crate) use send::run_stream;

/// Name of the feature in `node_info`.
pub(crate) const STREAM: &str = "stream";

/// Value of `:protocol` (RFC 9484, section 4.3).
pub(crate) const PROTOCOL: &str = "connect-ip";

/// Path of a stream to the node itself: the default template of RFC 9484, section 3, with any target and any protocol.
pub(crate) const PATH: &str = "/.well-known/masque/ip/*/*/";

/// Time without packets after which the sender closes its stream.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
