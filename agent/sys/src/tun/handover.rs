//! Descriptor passing between a node helper, which may make devices, and an agent, which may nothing.
//!
//! A `SOCK_SEQPACKET` Unix socket, so a message is a record. All begin alike; numbers are big endian:
//!
//! ```text
//! offset size
//!      0    4  "TMNH"
//!      4    1  version, 1
//!      5    1  kind
//!      6    2  count
//!      8       body
//!
//! kind       from    count                                         body
//! 1 HELLO    agent   queues wanted, 0 to 64                        2: most segments of a super packet, 0 for any
//!                                                                  up to 8192: token
//! 2 DEVICE   helper  queues of the device with this record         4: MTU
//!                    (SCM_RIGHTS)                                  1: 0 made now, 1 existed
//!                                                                  1 to 15: name
//! 3 REFUSED  helper  reason, see Refusal                           none
//! 4 SOCKETS  agent   UDP sockets with this record (SCM_RIGHTS)     4: bytes of buffer wanted each way
//! 5 LIFTED   helper  sockets whose buffers are now as wanted       none
//! ```
//!
//! HELLO is answered by DEVICE or REFUSED. SOCKETS may follow DEVICE once, and is answered by LIFTED; then both close. Neither
//! needs the other any more: the agent goes on with its descriptors, and the helper keeps no copy of them, as a copy that
//! nobody reads swallows packets.
//!
//! For the same reason an agent that has its queues asks for none when the device is to change: after HELLO with 0 the helper
//! brings the device that is there to the networks and the MTU it should have now, and DEVICE comes without descriptors.

mod give;
mod receive;
mod record;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, getsockopt, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

pub use self::give::{Client, hand_over, listen};
pub use self::receive::{Helper, Received, Wanted, receive, update};
pub use self::record::Hello;
use super::TunError;

/// The process at the other end of a hand-over, as the kernel vouches for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// User, as seen in this process' user namespace; 65534 if it has no number here.
    pub uid: u32,
    /// Group, likewise.
    pub gid: u32,
    /// Process, as seen in this process' process namespace; 0 if it has no number here.
    pub pid: i32,
}

fn seqpacket(flags: SockFlag) -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | flags, None)
}

fn address(socket: &str) -> Result<UnixAddr, Errno> {
    match socket.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()),
        None => UnixAddr::new(socket),
    }
}

fn peer_of(connection: &OwnedFd) -> Result<Peer, Errno> {
    let credentials = getsockopt(&connection.as_fd(), sockopt::PeerCredentials)?;
    Ok(Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
}

/// Bounds how long a connect, send or receive on the socket may block.
fn limit(connection: &OwnedFd, left: Duration) -> Result<(), Errno> {
    // Zero would mean no limit at all.
    let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
    let time = TimeVal::microseconds(micros.min(MAX_WAIT_MICROS));
    setsockopt(connection, sockopt::ReceiveTimeout, &time)?;
    setsockopt(connection, sockopt::SendTimeout, &time)
}

fn unusable(socket: &str, errno: Errno) -> TunError {
    TunError::Socket { socket: socket.to_owned(), source: errno.into() }
}

const MAX_WAIT_MICROS: i64 = 86_400_000_000;
