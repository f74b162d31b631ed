//! How large a datagram may be, as far as this host knows.
#![expect(unsafe_code, reason = "no kept crate wraps IPV6_MTU")]

use std::ffi::c_int;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

/// The largest IP packet in bytes on the way to where `socket` is connected: the MTU of the outgoing interface, or less
/// where an ICMP error said so (ip(7), `IP_MTU`; ipv6(7), `IPV6_MTU`).
///
/// # Errors
///
/// `NotConnected`, and whatever else the kernel says.
pub fn path_mtu(socket: &UdpSocket) -> io::Result<u32> {
    let mtu = if socket.peer_addr()?.is_ipv4() { getsockopt(socket, sockopt::IpMtu)? } else { ipv6(socket)? };
    u32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn ipv6(socket: &UdpSocket) -> Result<c_int, Errno> {
    let mut mtu: c_int = 0;
    let mut len = libc::socklen_t::try_from(size_of::<c_int>()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: both pointers lead to values that are alive and ours alone for the call, and `len` is the size of the first.
    let outcome = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU, (&raw mut mtu).cast(), &raw mut len)
    };
    Errno::result(outcome).map(|_| mtu)
}
