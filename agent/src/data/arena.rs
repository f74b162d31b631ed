use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::ops::Range;

use quinn_udp::RecvMeta;

use super::socket::Socket;

/// Room for what one call receives: several buffers in a row, each with a run of datagrams of one sender.
pub(crate) struct Arena {
    pub(crate) bytes: Vec<u8>,
    found: [RecvMeta; BUFFERS],
    buffer_len: usize,
}

/// Where the datagrams of one sender lie in the arena.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Range<usize>,
    /// Length of each datagram but the last, which may be shorter.
    pub(crate) stride: usize,
}

impl Arena {
    pub(crate) fn new(max_joined: usize) -> Self {
        let buffer_len = if max_joined > 1 { JOINED_LEN } else { SINGLE_LEN };
        Self { bytes: vec![0; buffer_len * BUFFERS], found: [RecvMeta::default(); BUFFERS], buffer_len }
    }

    /// Receives what waits, at most one run per buffer.
    pub(crate) fn fill(&mut self, socket: &Socket) -> io::Result<usize> {
        let mut buffers = self.bytes.chunks_exact_mut(self.buffer_len).map(IoSliceMut::new);
        let mut buffers: [IoSliceMut<'_>; BUFFERS] =
            std::array::from_fn(|_| buffers.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        socket.receive(&mut buffers, &mut self.found)
    }

    /// The run in buffer `index`.
    pub(crate) fn received(&self, index: usize) -> Received {
        let (meta, start) = (&self.found[index], index * self.buffer_len);
        let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
        Received { from, bytes: start..start + meta.len.min(self.buffer_len), stride: meta.stride.max(1) }
    }
}

/// Runs received with one call.
const BUFFERS: usize = 4;

/// A run of up to 64 joined datagrams is at most a datagram of the largest size.
const JOINED_LEN: usize = 64 << 10;

/// One datagram, of jumbo frames too.
const SINGLE_LEN: usize = 10 << 10;
