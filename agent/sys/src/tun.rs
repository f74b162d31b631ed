//! The TUN device: made here, handed over by another process, or received from one.

mod create;
mod error;
mod handover;
mod ioctl;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{InfoData, InfoTun, LinkAttribute, LinkFlags, LinkInfo};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat, makedev};
use nix::unistd;

pub use self::create::{TunSettings, create};
pub use self::error::{NotUsable, TunError};
pub use self::handover::{Peer, hand_over, listen, receive};
use crate::netlink;

/// A layer-3 device: what is read was sent into the mesh by this host, what is written arrives at this host.
///
/// Owns one non-blocking descriptor that closes on exec. One read or write moves one IP packet, without any header of
/// the device's own before it. The device vanishes with its last descriptor, unless whoever made it said otherwise.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    name: String,
    mtu: u32,
}

impl Tun {
    /// Reads one packet; what does not fit into `buffer` is lost.
    ///
    /// Errors: `WouldBlock` when none waits, `EBADFD` when the device was deleted.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(unistd::read(&self.fd, buffer)?)
    }

    /// Writes one packet, whole or not at all, and returns its length.
    ///
    /// Errors: `EINVAL` for what is no IP packet, `EIO` while the device is down, `EBADFD` when it was deleted.
    pub fn write(&self, packet: &[u8]) -> io::Result<usize> {
        Ok(unistd::write(&self.fd, packet)?)
    }

    /// Interface name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the device is there and up; somebody may have taken it down since it was made.
    pub fn is_up(&self) -> bool {
        netlink::describe(&self.name).is_ok_and(|link| link.header.flags.contains(LinkFlags::Up))
    }

    /// Largest packet in bytes, as it was when the device was made or taken over.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Tun> for OwnedFd {
    fn from(tun: Tun) -> Self {
        tun.fd
    }
}

/// Takes over a device that another process made, after checking that it is one this crate can use.
///
/// Accepts an attached TUN without packet information and without a virtio header, in the calling thread's network
/// namespace (its MTU is asked for by name there). Needs no capability.
pub fn adopt(fd: OwnedFd) -> Result<Tun, TunError> {
    // Before any ioctl: on another kind of file the same request number would mean something else.
    if !is_tun_file(&fd).map_err(|error| TunError::ioctl("fstat", error))? {
        return Err(TunError::NotUsable(NotUsable::OtherFile));
    }
    let (name, flags) = match ioctl::identify(fd.as_fd()) {
        Err(Errno::EBADFD) => return Err(TunError::NotUsable(NotUsable::Detached)),
        identified => identified.map_err(|error| TunError::ioctl("TUNGETIFF", error))?,
    };
    if let Some(reason) = unusable(flags) {
        return Err(TunError::NotUsable(reason));
    }
    let mtu = describe(&name)?;
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|error| TunError::ioctl("F_SETFD", error))?;
    let status = fcntl(&fd, FcntlArg::F_GETFL).map_err(|error| TunError::ioctl("F_GETFL", error))?;
    let status = OFlag::from_bits_retain(status) | OFlag::O_NONBLOCK;
    fcntl(&fd, FcntlArg::F_SETFL(status)).map_err(|error| TunError::ioctl("F_SETFL", error))?;
    Ok(Tun { fd, name, mtu })
}

fn is_tun_file(fd: &OwnedFd) -> Result<bool, Errno> {
    let stat = fstat(fd)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    Ok(kind == SFlag::S_IFCHR && stat.st_rdev == makedev(TUN_MAJOR, TUN_MINOR))
}

fn unusable(flags: i32) -> Option<NotUsable> {
    if flags & libc::IFF_TUN == 0 {
        return Some(NotUsable::Tap);
    }
    (flags & libc::IFF_VNET_HDR != 0).then_some(NotUsable::VirtioHeader)
}

/// MTU in bytes of device `name`, which must not prepend packet information.
fn describe(name: &str) -> Result<u32, TunError> {
    let link = netlink::describe(name).map_err(|source| TunError::Ioctl { request: "RTM_GETLINK", source })?;
    if link.attributes.iter().any(prepends) {
        return Err(TunError::NotUsable(NotUsable::PacketInformation));
    }
    let mtu = link.attributes.iter().find_map(|attribute| {
        let LinkAttribute::Mtu(bytes) = *attribute else { return None };
        Some(bytes)
    });
    mtu.ok_or_else(|| TunError::ioctl("RTM_GETLINK", Errno::ENODATA))
}

fn prepends(attribute: &LinkAttribute) -> bool {
    let set = InfoTun::Other(DefaultNla::new(IFLA_TUN_PI, vec![1]));
    let says_so = |info: &LinkInfo| matches!(info, LinkInfo::Data(InfoData::Tun(data)) if data.contains(&set));
    matches!(attribute, LinkAttribute::LinkInfo(infos) if infos.iter().any(says_so))
}

/// From `linux/if_link.h`: one byte, whether the device was made without `IFF_NO_PI`.
const IFLA_TUN_PI: u16 = 4;

/// Device number of `/dev/net/tun`, fixed by the kernel's list of devices.
const TUN_MAJOR: u64 = 10;
const TUN_MINOR: u64 = 200;
