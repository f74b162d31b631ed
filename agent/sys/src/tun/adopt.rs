//! Taking over a device by its descriptor.

use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{InfoData, InfoTun, LinkAttribute, LinkInfo};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat, makedev};

use super::{NotUsable, Offloads, Queue, Tun, TunError, ioctl, offload};
use crate::netlink;

/// Takes over a device that another process made, after checking that it is one this crate can use.
///
/// Accepts an attached TUN without packet information, in the calling thread's network namespace (its MTU is asked for
/// by name there). One with a virtio header is told to use the short one and is asked for offloads, see
/// [`Tun::offloads`]. Needs no capability.
pub fn adopt(fd: OwnedFd) -> Result<Tun, TunError> {
    let (name, flags) = identify(&fd)?;
    let mtu = describe(&name)?;
    prepare(&fd)?;
    let offloads = if flags & libc::IFF_VNET_HDR == 0 { Offloads::default() } else { adopt_header(&fd)? };
    Ok(Tun { queues: vec![Queue::new(fd)], name, mtu, offloads, ipv6_skipped: false })
}

/// Takes over a device by all of its queues, at least one, as [`adopt`] does by one.
pub(super) fn adopt_queues(fds: Vec<OwnedFd>) -> Result<Tun, TunError> {
    let mut fds = fds.into_iter();
    let first = fds.next().ok_or(TunError::NotUsable(NotUsable::Detached))?;
    let mut tun = adopt(first)?;
    for fd in fds {
        if identify(&fd)?.0 != tun.name {
            return Err(TunError::NotUsable(NotUsable::OtherDevice));
        }
        prepare(&fd)?;
        tun.queues.push(Queue::new(fd));
    }
    Ok(tun)
}

/// Name and flags of the TUN that the descriptor is attached to.
fn identify(fd: &OwnedFd) -> Result<(String, libc::c_int), TunError> {
    // Before any ioctl: on another kind of file the same request number would mean something else.
    if !is_tun_file(fd).map_err(|error| TunError::ioctl("fstat", error))? {
        return Err(TunError::NotUsable(NotUsable::OtherFile));
    }
    let (name, flags) = match ioctl::identify(fd.as_fd()) {
        Err(Errno::EBADFD) => return Err(TunError::NotUsable(NotUsable::Detached)),
        identified => identified.map_err(|error| TunError::ioctl("TUNGETIFF", error))?,
    };
    if flags & libc::IFF_TUN == 0 {
        return Err(TunError::NotUsable(NotUsable::Tap));
    }
    Ok((name, flags))
}

/// Non-blocking, and closed on exec.
fn prepare(fd: &OwnedFd) -> Result<(), TunError> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|error| TunError::ioctl("F_SETFD", error))?;
    let status = fcntl(fd, FcntlArg::F_GETFL).map_err(|error| TunError::ioctl("F_GETFL", error))?;
    let status = OFlag::from_bits_retain(status) | OFlag::O_NONBLOCK;
    fcntl(fd, FcntlArg::F_SETFL(status)).map_err(|error| TunError::ioctl("F_SETFL", error))?;
    Ok(())
}

fn is_tun_file(fd: &OwnedFd) -> Result<bool, Errno> {
    let stat = fstat(fd)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    Ok(kind == SFlag::S_IFCHR && stat.st_rdev == makedev(TUN_MAJOR, TUN_MINOR))
}

fn adopt_header(fd: &OwnedFd) -> Result<Offloads, TunError> {
    offload::shorten_header(fd.as_fd()).map_err(|_| TunError::NotUsable(NotUsable::VirtioHeader))?;
    Ok(offload::negotiate(fd.as_fd()))
}

/// MTU in bytes of device `name`, which must not prepend packet information.
pub(super) fn describe(name: &str) -> Result<u32, TunError> {
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
