//! UDP sockets of the data plane. Segmentation and coalescing (UDP GSO, GRO) are for whoever reads and writes them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SetSockOpt, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket as open, sockopt,
};

/// How a socket is to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Whether further sockets of this user may bind the same address; the kernel spreads datagrams over them by flow.
    pub reuse_port: bool,
    /// Bytes of datagrams that may wait to be read. Without `CAP_NET_ADMIN` the host's `net.core.rmem_max` bounds it.
    pub receive_buffer: usize,
    /// Bytes of datagrams that may wait to be sent, likewise bounded by `net.core.wmem_max`.
    pub send_buffer: usize,
}

/// Opens a non-blocking UDP socket bound to `address`, in the calling thread's network namespace.
///
/// `[::]` receives IPv4 too, from addresses such as `::ffff:192.0.2.1`; on a host without IPv6 it becomes `0.0.0.0`,
/// which `local_addr` tells. Any other IPv6 address is IPv6 alone. Errors: `AddrInUse`, `AddrNotAvailable`, and
/// `PermissionDenied` for a port below the host's first unprivileged one.
pub fn socket(address: SocketAddr, settings: Settings) -> io::Result<UdpSocket> {
    let without_ipv6 = |errno| matches!(errno, Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL);
    let bound = match bound(address, settings) {
        Err(errno) if without_ipv6(errno) && address.ip() == Ipv6Addr::UNSPECIFIED => {
            bound(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), settings)
        }
        bound => bound,
    };
    Ok(bound?)
}

fn bound(address: SocketAddr, settings: Settings) -> Result<UdpSocket, Errno> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = open(family, SockType::Datagram, flags, None)?;
    setsockopt(&socket, sockopt::ReusePort, &settings.reuse_port)?;
    if address.is_ipv6() {
        // Said either way, as the host's default may be either.
        setsockopt(&socket, sockopt::Ipv6V6Only, &(address.ip() != Ipv6Addr::UNSPECIFIED))?;
    }
    enlarge(socket.as_fd(), sockopt::RcvBufForce, sockopt::RcvBuf, settings.receive_buffer)?;
    enlarge(socket.as_fd(), sockopt::SndBufForce, sockopt::SndBuf, settings.send_buffer)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket.into())
}

/// Sets a buffer beyond the host's limit if that is permitted, else up to it.
fn enlarge(
    socket: BorrowedFd<'_>,
    beyond_limit: impl SetSockOpt<Val = usize>,
    up_to_limit: impl SetSockOpt<Val = usize>,
    bytes: usize,
) -> Result<(), Errno> {
    match setsockopt(&socket, beyond_limit, &bytes) {
        Err(Errno::EPERM) => setsockopt(&socket, up_to_limit, &bytes),
        set => set,
    }
}
