//! What kernel and process leave undone for each other: checksums and segmentation.

use std::ffi::{c_int, c_uint};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use super::ioctl;

/// What a device was agreed to do, with its header. Default: packets without a header, complete in every way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Offloads {
    /// Every frame begins with a `virtio_net_hdr` of [`VNET_HEADER_LEN`] bytes in the host's byte order; what is written
    /// may carry segments and unfinished checksums, whatever the other two say.
    pub header: bool,
    /// TCP packets are read with unfinished checksums and larger than the MTU, to be cut into segments.
    pub tcp: bool,
    /// UDP datagrams of one flow are read as one packet larger than the MTU, to be cut (Linux 6.2 and later).
    pub udp: bool,
}

impl Offloads {
    pub(super) const HEADER_ONLY: Self = Self { header: true, tcp: false, udp: false };
    const TCP: Self = Self { header: true, tcp: true, udp: false };
    const TCP_AND_UDP: Self = Self { header: true, tcp: true, udp: true };

    fn bits(self) -> c_uint {
        let tcp = if self.tcp { libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 } else { 0 };
        let udp = if self.udp { libc::TUN_F_USO4 | libc::TUN_F_USO6 } else { 0 };
        tcp | udp
    }
}

/// Asks the device, which has a header, for as much as its kernel can do.
pub(super) fn negotiate(fd: BorrowedFd<'_>) -> Offloads {
    let wanted = [Offloads::TCP_AND_UDP, Offloads::TCP];
    let granted = wanted.into_iter().find(|offloads| switch(fd, *offloads).is_ok());
    granted.unwrap_or_else(|| {
        // Refused altogether, it has none on, and a refusal of none changes nothing.
        let _none_on = switch(fd, Offloads::HEADER_ONLY);
        Offloads::HEADER_ONLY
    })
}

/// Switches on what `offloads` names, and the rest off.
pub(super) fn switch(fd: BorrowedFd<'_>, offloads: Offloads) -> Result<(), Errno> {
    ioctl::set_offload(fd, offloads.bits())
}

/// Makes the device's header the short one, without the number of buffers that belongs to virtio proper.
pub(super) fn shorten_header(fd: impl AsFd) -> Result<(), Errno> {
    let fd = fd.as_fd();
    if ioctl::header_len(fd)? == HEADER_LEN { Ok(()) } else { ioctl::set_header_len(fd, HEADER_LEN) }
}

/// Bytes of the `virtio_net_hdr` before a packet (virtio 1.3, section 5.1.6, without `num_buffers`).
pub const VNET_HEADER_LEN: usize = 10;

const HEADER_LEN: c_int = VNET_HEADER_LEN as c_int;
