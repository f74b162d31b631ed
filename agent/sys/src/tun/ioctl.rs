//! The ioctls of TUN devices.
#![expect(unsafe_code, reason = "no kept crate wraps the TUN ioctls")]

use std::ffi::{CStr, c_int, c_short, c_uint, c_ulong};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Attaches `fd` to a device `name` made with `flags`, and returns the name the kernel gave it.
pub(super) fn attach(fd: BorrowedFd<'_>, name: &str, flags: c_int) -> Result<String, Errno> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = flags as c_short;
    // SAFETY: the request points to a whole ifreq, alive and ours alone for the call.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    name_of(&request)
}

/// Name and flags of the device `fd` is attached to; needs no capability.
///
/// `IFF_NO_PI` says nothing here: the kernel returns the same bit as `IFF_NOFILTER`, set on nearly every device.
pub(super) fn identify(fd: BorrowedFd<'_>) -> Result<(String, c_int), Errno> {
    let mut request = request("")?;
    // SAFETY: the request points to a whole ifreq, alive and ours alone for the call.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    // SAFETY: TUNGETIFF filled in the flags, and every bit pattern is a short.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((name_of(&request)?, c_int::from(flags) & FLAG_BITS))
}

/// Lets only processes of user `uid` (or those with `CAP_NET_ADMIN`) attach to the device later.
pub(super) fn set_owner(fd: BorrowedFd<'_>, uid: u32) -> Result<(), Errno> {
    // SAFETY: TUNSETOWNER takes its argument by value.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOWNER, c_ulong::from(uid)) })?;
    Ok(())
}

/// Lets only processes of group `gid` (or those with `CAP_NET_ADMIN`) attach to the device later.
pub(super) fn set_group(fd: impl AsFd, gid: u32) -> Result<(), Errno> {
    // SAFETY: TUNSETGROUP takes its argument by value.
    Errno::result(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNSETGROUP, c_ulong::from(gid)) })?;
    Ok(())
}

/// Has the device stay when its last descriptor closes.
pub(super) fn set_persistent(fd: impl AsFd) -> Result<(), Errno> {
    let on: c_ulong = 1;
    // SAFETY: TUNSETPERSIST takes its argument by value.
    Errno::result(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNSETPERSIST, on) })?;
    Ok(())
}

/// Has the kernel hand over packets with the `TUN_F_*` of `bits` left undone, and none other.
pub(super) fn set_offload(fd: BorrowedFd<'_>, bits: c_uint) -> Result<(), Errno> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, c_ulong::from(bits)) })?;
    Ok(())
}

/// Bytes of the virtio header of the device, whether or not it uses one.
pub(super) fn header_len(fd: BorrowedFd<'_>) -> Result<c_int, Errno> {
    let mut len: c_int = 0;
    // SAFETY: the pointer is to a whole int, alive and ours alone for the call.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETVNETHDRSZ, &raw mut len) })?;
    Ok(len)
}

/// Sets that number of bytes.
pub(super) fn set_header_len(fd: BorrowedFd<'_>, len: c_int) -> Result<(), Errno> {
    // SAFETY: the pointer is to a whole int, alive for the call, which only reads it.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) })?;
    Ok(())
}

fn request(name: &str) -> Result<libc::ifreq, Errno> {
    // SAFETY: an ifreq is integers, arrays of them and null pointers; all zero is a value of each.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: the kernel wants a terminated name.
    if name.len() >= request.ifr_name.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte as libc::c_char;
    }
    Ok(request)
}

fn name_of(request: &libc::ifreq) -> Result<String, Errno> {
    let bytes = request.ifr_name.map(|byte| byte.to_ne_bytes()[0]);
    let name = CStr::from_bytes_until_nul(&bytes).map_err(|_| Errno::EINVAL)?;
    Ok(name.to_str().map_err(|_| Errno::EINVAL)?.to_owned())
}

/// The field is a short, the constants are wider: bit 15 must not be taken for a sign.
const FLAG_BITS: c_int = 0xffff;
