//! One queue of a device.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::uio::writev;
use nix::unistd;

/// One queue of a TUN device: a non-blocking descriptor that closes on exec. Any thread may use it at any time.
///
/// One read or write moves one frame: a packet, after a [`VNET_HEADER_LEN`](super::VNET_HEADER_LEN) byte
/// `virtio_net_hdr` if [`Offloads::header`](super::Offloads) says so.
#[derive(Debug)]
pub struct Queue(OwnedFd);

impl Queue {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Reads one frame; what does not fit into `buffer` is lost. With segmentation offload a packet has up to 65,535
    /// bytes, whatever the MTU.
    ///
    /// Errors: `WouldBlock` when none waits, `EBADFD` when the device was deleted.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(unistd::read(&self.0, buffer)?)
    }

    /// Writes one frame, whole or not at all, and returns its length.
    ///
    /// Errors: `EINVAL` for what is no IP packet or has a bad header, `EIO` while the device is down, `EBADFD` when it
    /// was deleted.
    pub fn write(&self, frame: &[u8]) -> io::Result<usize> {
        Ok(unistd::write(&self.0, frame)?)
    }

    /// Writes one frame that lies in several places, such as header and payloads of several segments; at most 1,024.
    ///
    /// Errors: those of [`Queue::write`].
    pub fn write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(writev(&self.0, parts)?)
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Queue> for OwnedFd {
    fn from(queue: Queue) -> Self {
        queue.0
    }
}
