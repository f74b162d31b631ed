//! The TUN device: made here, handed over by another process, or received from one.
//!
//! A packet thread waits for a [`Queue`] with `nix::poll`; it is non-blocking.

mod adopt;
mod create;
mod error;
mod handover;
mod ioctl;
mod offload;
mod provide;
mod queue;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use netlink_packet_route::link::LinkFlags;

pub use self::adopt::adopt;
pub use self::create::{Features, TunSettings, create, create_with};
pub use self::error::{NotUsable, Refusal, TunError};
pub use self::handover::{Client, Hello, Helper, Peer, Received, Wanted, hand_over, listen, receive, update};
pub use self::offload::{Offloads, VNET_HEADER_LEN};
pub use self::provide::{Origin, Provided, ProvidedSettings, provide, update_provided};
pub use self::queue::Queue;
use crate::netlink;

/// A layer-3 device: what is read was sent into the mesh by this host, what is written arrives at this host.
///
/// Owns one or more queues. The kernel spreads what it sends over them by flow; what is written to any of them arrives.
/// A device vanishes with the last descriptor of its last queue, unless whoever made it said otherwise.
#[derive(Debug)]
pub struct Tun {
    /// Never empty.
    queues: Vec<Queue>,
    name: String,
    mtu: u32,
    offloads: Offloads,
    ipv6_skipped: bool,
}

impl Tun {
    /// Reads one frame of the first queue, as [`Queue::read`] does.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.first().read(buffer)
    }

    /// Writes one frame to the first queue, as [`Queue::write`] does.
    pub fn write(&self, frame: &[u8]) -> io::Result<usize> {
        self.first().write(frame)
    }

    /// The queues, at least one. Packets of every one must be read, or the flows the kernel put there starve.
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// What the kernel and this process leave undone for each other; the same on all queues.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Switches segmentation and checksum offload of the whole device off, or on again as far as [`Tun::offloads`] says.
    ///
    /// While off, packets read are whole packets of at most the MTU; the header before them, if any, stays and says so.
    /// Those that waited to be read at the switch still come as they are. Writing is not affected.
    pub fn set_offload(&self, on: bool) -> io::Result<()> {
        if self.offloads.header {
            offload::switch(self.as_fd(), if on { self.offloads } else { Offloads::HEADER_ONLY })?;
        }
        Ok(())
    }

    /// Interface name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether IPv6 addresses were asked for and left out, because the host has IPv6 off for the device or the MTU is
    /// below the least of IPv6 (1280, RFC 8200 section 5).
    pub fn ipv6_skipped(&self) -> bool {
        self.ipv6_skipped
    }

    /// Whether the device is there and up; somebody may have taken it down since it was made.
    pub fn is_up(&self) -> bool {
        netlink::describe(&self.name).is_ok_and(|link| link.header.flags.contains(LinkFlags::Up))
    }

    /// Largest packet in bytes, as it was when the device was made or taken over.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    fn first(&self) -> &Queue {
        &self.queues[0]
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.first().as_fd()
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.first().as_raw_fd()
    }
}

/// The first queue's descriptor; the other queues close.
impl From<Tun> for OwnedFd {
    fn from(mut tun: Tun) -> Self {
        tun.queues.swap_remove(0).into()
    }
}
