//! The helper's side.
#![expect(unsafe_code, reason = "an accepted connection becomes an owned descriptor here")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, accept4, bind, getsockname, getsockopt,
    setsockopt, sockopt,
};

use super::record::{Hello, Incoming, Record, receive};
use super::{Peer, address, limit, peer_of, seqpacket, unusable};
use crate::tun::{Provided, Refusal, TunError};

/// Listens for agents on `socket`: a path, or `@name` for an abstract name in this thread's network namespace. The
/// descriptor is non-blocking.
pub fn listen(socket: &str) -> Result<OwnedFd, TunError> {
    let listening = || {
        let listener = seqpacket(SockFlag::SOCK_NONBLOCK)?;
        bind(listener.as_raw_fd(), &address(socket)?)?;
        nix::sys::socket::listen(&listener, Backlog::new(LISTEN_BACKLOG)?)?;
        Ok(listener)
    };
    listening().map_err(|errno| unusable(socket, errno))
}

/// An agent that connected, or something else that did. Non-blocking: what is not there yet is `WouldBlock`.
#[derive(Debug)]
pub struct Client {
    connection: OwnedFd,
    peer: Peer,
}

impl Client {
    /// Takes the next connection of a listener.
    pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Self> {
        Self::accept_as(listener, SockFlag::SOCK_NONBLOCK)
    }

    fn accept_as(listener: BorrowedFd<'_>, flags: SockFlag) -> io::Result<Self> {
        let accepted = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | flags)?;
        // SAFETY: accept4 has just opened the descriptor and nothing else knows it.
        let connection = unsafe { OwnedFd::from_raw_fd(accepted) };
        let peer = peer_of(&connection)?;
        Ok(Self { connection, peer })
    }

    /// Who it is, as the kernel says. No proof of anything: every container of a pod may connect, as any user.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// What it asks for. Descriptors that come along are discarded by the kernel.
    ///
    /// Errors: `InvalidData` for anything but a HELLO of this version, `UnexpectedEof` if it went away.
    pub fn hello(&self) -> io::Result<Hello> {
        match receive(&self.connection, false)? {
            Incoming::Record(Record::Hello(hello), _) => Ok(hello),
            Incoming::Closed => Err(io::ErrorKind::UnexpectedEof.into()),
            Incoming::Malformed | Incoming::Record(..) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Sends the device and closes our copies of its descriptors.
    pub fn give(&self, provided: Provided) -> io::Result<()> {
        let Provided { name, mtu, origin, queues } = provided;
        let count = u16::try_from(queues.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let record = Record::Device { queues: count, mtu, origin, name };
        let fds: Vec<BorrowedFd<'_>> = queues.iter().map(AsFd::as_fd).collect();
        Ok(record.send(&self.connection, &fds)?)
    }

    /// Says why there is no device.
    pub fn refuse(&self, reason: Refusal) -> io::Result<()> {
        Ok(Record::Refused(reason).send(&self.connection, &[])?)
    }

    /// Gives the UDP sockets that the agent sends the buffers it asks for, each way at most `max_bytes`, beyond the host's
    /// limits (`CAP_NET_ADMIN` in the first user namespace), and tells it how many got them. Returns that number.
    ///
    /// Errors: those of [`Client::hello`].
    pub fn lift_buffers(&self, max_bytes: u32) -> io::Result<u16> {
        let (fds, bytes) = match receive(&self.connection, true)? {
            Incoming::Record(Record::Sockets { sockets, bytes }, fds) if fds.len() == usize::from(sockets) => {
                (fds, bytes)
            }
            Incoming::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
            Incoming::Malformed | Incoming::Record(..) => return Err(io::ErrorKind::InvalidData.into()),
        };
        let bytes = usize::try_from(bytes.min(max_bytes)).map_err(|_| io::ErrorKind::InvalidData)?;
        let lifted = fds.iter().filter(|socket| lift(socket, bytes).is_ok()).count();
        let sockets = u16::try_from(lifted).unwrap_or(u16::MAX);
        Record::Lifted { sockets }.send(&self.connection, &[])?;
        Ok(sockets)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl AsRawFd for Client {
    fn as_raw_fd(&self) -> RawFd {
        self.connection.as_raw_fd()
    }
}

/// Waits for one agent and hands it the device that `give` makes or finds for it.
///
/// `give` decides by the peer and what it asks for before anything costly is done; its refusal is told to the agent, and
/// returned as `PermissionDenied`. An agent that says nothing is given up after `timeout`.
pub fn hand_over(
    listener: BorrowedFd<'_>,
    timeout: Duration,
    give: impl FnOnce(Peer, &Hello) -> Result<Provided, Refusal>,
) -> io::Result<Client> {
    let wait = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    if poll(&mut [PollFd::new(listener, PollFlags::POLLIN)], wait)? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let client = Client::accept_as(listener, SockFlag::empty())?;
    limit(&client.connection, timeout)?;
    let hello = client.hello()?;
    match give(client.peer, &hello) {
        Ok(provided) => client.give(provided)?,
        Err(reason) => {
            client.refuse(reason)?;
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
    }
    Ok(client)
}

/// Anything but a UDP socket is refused.
fn lift(socket: &OwnedFd, bytes: usize) -> Result<(), Errno> {
    let family = getsockname::<SockaddrStorage>(socket.as_raw_fd())?.family();
    let is_udp = getsockopt(socket, sockopt::SockType)? == SockType::Datagram
        && matches!(family, Some(AddressFamily::Inet | AddressFamily::Inet6));
    if !is_udp {
        return Err(Errno::EPROTOTYPE);
    }
    setsockopt(socket, sockopt::RcvBufForce, &bytes)?;
    setsockopt(socket, sockopt::SndBufForce, &bytes)
}

const LISTEN_BACKLOG: i32 = 16;
