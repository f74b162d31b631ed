use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

/// A UDP socket that sends and receives runs of equal datagrams with one system call each, where the kernel can.
pub(crate) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket, state })
    }

    /// Port it takes datagrams at.
    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Datagrams that one call sends at most; 1 where the kernel cannot cut (before Linux 4.18).
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Datagrams that one buffer receives at most; 1 where the kernel cannot join (before Linux 5.0).
    pub(crate) fn max_joined(&self) -> usize {
        self.state.gro_segments().max(1)
    }

    /// Sends datagrams of `segment` bytes each (the last may be shorter) that lie in `contents`.
    ///
    /// What the kernel cannot cut is sent one by one. Errors: `WouldBlock` when the send buffer is full, `EMSGSIZE` when a
    /// datagram is larger than the outgoing interface takes.
    pub(crate) fn send(&self, to: SocketAddr, contents: &[u8], segment: usize) -> io::Result<()> {
        let cut = self.max_segments() > 1 && segment < contents.len();
        let sent = match cut {
            true => self.send_one(to, contents, Some(segment)),
            false => contents.chunks(segment.max(1)).try_for_each(|datagram| self.send_one(to, datagram, None)),
        };
        match sent {
            // The outgoing interface may refuse cutting although the kernel can do it; the state has noted that.
            Err(error) if cut && is_no_offload(&error) => {
                contents.chunks(segment).try_for_each(|datagram| self.send_one(to, datagram, None))
            }
            sent => sent,
        }
    }

    fn send_one(&self, to: SocketAddr, contents: &[u8], segment_size: Option<usize>) -> io::Result<()> {
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
        loop {
            match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                // An earlier datagram was answered by an ICMP error; that one is lost, this one was not sent.
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused) => {
                }
                sent => return sent,
            }
        }
    }

    /// Receives into `buffers`, one run of datagrams each, and says what is where.
    pub(crate) fn receive(&self, buffers: &mut [IoSliceMut<'_>], found: &mut [RecvMeta]) -> io::Result<usize> {
        self.state.recv(UdpSockRef::from(&self.socket), buffers, found)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_no_offload(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(nix::errno::Errno::from_raw),
        Some(nix::errno::Errno::EIO | nix::errno::Errno::EINVAL)
    )
}
