use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use tunmesh_session::Session;

use super::socket::Socket;

/// Datagrams about to be sent, as runs: neighbours of equal length to one address, that one call sends.
pub(crate) struct Outgoing {
    buffer: Vec<u8>,
    used: usize,
    runs: Vec<Run>,
    max_segments: usize,
}

struct Run {
    bytes: Range<usize>,
    segment: usize,
    count: usize,
    to: SocketAddr,
    /// Ends with a shorter datagram, so none can follow.
    is_closed: bool,
}

impl Outgoing {
    pub(crate) fn new(max_segments: usize) -> Self {
        Self { buffer: Vec::new(), used: 0, runs: Vec::new(), max_segments }
    }

    /// Room for one more datagram of `len` bytes to `to`.
    pub(crate) fn next(&mut self, to: SocketAddr, len: usize) -> &mut [u8] {
        let start = self.used;
        self.used += len;
        if self.buffer.len() < self.used {
            self.buffer.resize(self.used.max(INITIAL_LEN), 0);
        }
        match self.runs.last_mut() {
            Some(run) if run.takes(to, len, self.max_segments) => {
                run.bytes.end = self.used;
                run.count += 1;
                run.is_closed = len < run.segment;
            }
            _ => self.runs.push(Run { bytes: start..self.used, segment: len, count: 1, to, is_closed: false }),
        }
        &mut self.buffer[start..self.used]
    }

    /// Whether so much is waiting that it should be sent before more is read.
    pub(crate) fn is_full(&self) -> bool {
        self.used >= FULL_LEN
    }

    /// Sends everything. Each run that cannot be sent is told to `failed` with its address and datagram length.
    pub(crate) fn flush(&mut self, socket: &Socket, mut failed: impl FnMut(SocketAddr, usize, usize, &io::Error)) {
        for run in self.runs.drain(..) {
            if let Err(error) = socket.send(run.to, &self.buffer[run.bytes], run.segment) {
                failed(run.to, run.segment, run.count, &error);
            }
        }
        self.used = 0;
    }
}

impl Run {
    fn takes(&self, to: SocketAddr, len: usize, max_segments: usize) -> bool {
        !self.is_closed
            && self.to == to
            && len <= self.segment
            && self.count < max_segments
            && self.bytes.len() + len <= MAX_RUN_LEN
    }
}

/// Packets of `mtu` bytes that one run takes: a super packet with more would be sent in two, the second nearly empty.
pub(crate) fn segments_per_run(mtu: u16) -> u32 {
    (MAX_RUN_LEN / (usize::from(mtu) + Session::HEADER_LEN + Session::TAG_LEN)) as u32
}

/// Bytes gathered before they are sent: one super packet, as the next is a call of its own anyway.
const FULL_LEN: usize = 60 << 10;

/// Room made at first use: what is gathered, and one super packet with its headers beyond it.
const INITIAL_LEN: usize = FULL_LEN + (72 << 10);

/// Payload of the largest UDP datagram that IPv4 can carry; a run is one such to the kernel until it is cut.
const MAX_RUN_LEN: usize = 65_507;
