use std::ops::Range;

use crate::layout::{Layout, LayoutError};
use crate::offload::Offload;
use flow::Flow;

mod flow;

/// Joins received packets into super packets, the opposite of [`split`](crate::split()), without copying their payload.
///
/// The packets of a batch lie in one buffer of the caller, the arena. For every packet, in the order of arrival, call
/// [`Coalescer::push`]; then call [`Coalescer::drain`] and write each [`Frame`] to the device. Between the first push and the
/// drain the arena must stay as it is. All memory is kept for the next batch.
///
/// Packets are joined by the rules of Linux' receive offload (`tcp_gro_receive`, `udp_gro_receive`), so that cutting the super
/// packet gives them back: one flow, nothing but ACK and PSH set, sequence numbers without a gap, equal acknowledgement,
/// window, options and IP fields, and equal lengths but for the last. IPv4 identifications count up, unless "don't fragment"
/// makes them meaningless (RFC 6864, section 4.1). What does not meet that is passed on bit by bit.
///
/// Frames come out in the order of their first packets. Packets of one flow, fragments included, never overtake each other.
#[derive(Debug)]
pub struct Coalescer {
    joins_udp: bool,
    /// The flows that may still grow, oldest first.
    open: Vec<Flow>,
    /// Frames in the making; the first `used` belong to this batch.
    frames: Vec<FrameBuffer>,
    used: usize,
}

impl Coalescer {
    /// A coalescer without packets.
    ///
    /// `udp` says whether the device takes UDP super packets (`TUN_F_USO4` and `TUN_F_USO6`, Linux 6.2); without it UDP is
    /// passed as it is.
    pub fn new(udp: bool) -> Self {
        Self { joins_udp: udp, open: Vec::with_capacity(MAX_OPEN_FLOWS), frames: Vec::new(), used: 0 }
    }

    /// Takes the packet at `packet` of `arena`.
    ///
    /// `partial` says that its TCP or UDP checksum field holds the folded sum of the pseudo-header only, and that somebody else
    /// vouches for its bytes. Otherwise the checksum is verified before the packet is joined with others; a packet where it is
    /// wrong or absent is passed alone. The field of a partial packet that stays alone is passed as found, for the device to
    /// complete; where there is no TCP or UDP header, `partial` has no meaning.
    #[inline]
    pub fn push(&mut self, arena: &[u8], packet: Range<usize>, partial: bool) -> Verdict {
        let Some(bytes) = arena.get(packet.clone()) else {
            return Verdict::Refused;
        };
        let layout = match Layout::of(bytes) {
            Ok(layout) => layout,
            Err(error) => {
                if error == LayoutError::Fragment {
                    self.close_all_between_hosts_of(bytes);
                }
                return self.pass(packet, Offload::default());
            }
        };
        let is_joinable = flow::is_joinable(&layout, bytes, self.joins_udp);
        let opens = is_joinable && !flow::is_pushed(&layout, bytes);
        let owner = self.position(&layout, bytes);
        let continued = owner.filter(|&at| {
            let flow = &self.open[at];
            is_joinable && flow.is_continued_by(&self.frames[flow.frame], &layout, bytes)
        });
        let is_intact = (opens || continued.is_some()) && (partial || layout.is_checksum_valid(bytes));
        if let Some(at) = continued
            && is_intact
        {
            let flow = &mut self.open[at];
            if flow.append(&mut self.frames[flow.frame], bytes, packet).is_break() {
                self.close(at);
            }
            return Verdict::Appended;
        }
        if let Some(at) = owner {
            self.close(at);
        }
        if opens && is_intact {
            return self.open(&layout, bytes, packet, partial);
        }
        self.pass(packet, flow::single(&layout, partial))
    }

    /// Hands over all frames of the batch, in the order of their first packets, and starts the next batch.
    pub fn drain(&mut self, mut emit: impl FnMut(Frame<'_>)) {
        for flow in self.open.drain(..) {
            flow.finish(&mut self.frames[flow.frame]);
        }
        for frame in &self.frames[..self.used] {
            emit(Frame { head: &frame.head[..frame.head_len], pieces: &frame.pieces });
        }
        self.used = 0;
    }

    /// The open flow that a packet belongs to.
    #[inline]
    fn position(&self, layout: &Layout, packet: &[u8]) -> Option<usize> {
        self.open.iter().position(|flow| flow.owns(&self.frames[flow.frame], layout, packet))
    }

    fn open(&mut self, layout: &Layout, packet: &[u8], range: Range<usize>, partial: bool) -> Verdict {
        if self.open.len() == MAX_OPEN_FLOWS {
            self.close(0);
        }
        let index = self.used;
        let flow = Flow::open(index, self.next_frame(), layout, packet, range, partial);
        self.open.push(flow);
        Verdict::Opened
    }

    /// Ends an open flow, so that no later packet joins it.
    fn close(&mut self, at: usize) {
        let flow = self.open.remove(at);
        flow.finish(&mut self.frames[flow.frame]);
    }

    /// A fragment may be of any flow between its hosts; so that it is not overtaken, all of them end.
    fn close_all_between_hosts_of(&mut self, fragment: &[u8]) {
        while let Some(at) =
            self.open.iter().position(|flow| flow.is_between_hosts_of(&self.frames[flow.frame], fragment))
        {
            self.close(at);
        }
    }

    fn pass(&mut self, packet: Range<usize>, offload: Offload) -> Verdict {
        let frame = self.next_frame();
        frame.head[..Offload::LEN].copy_from_slice(&offload.encode());
        frame.head_len = Offload::LEN;
        frame.pieces.push(packet);
        Verdict::Alone
    }

    /// An unused frame; its number is that of the frames used before.
    fn next_frame(&mut self) -> &mut FrameBuffer {
        if self.used == self.frames.len() {
            self.frames.push(FrameBuffer { head: [0; MAX_HEAD_LEN], head_len: 0, pieces: Vec::new() });
        }
        let frame = &mut self.frames[self.used];
        frame.pieces.clear();
        self.used += 1;
        frame
    }
}

/// What became of a packet; all but a refused one are part of a frame of the next [`Coalescer::drain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is a frame of its own, with all its bytes as they are.
    Alone,
    /// It was joined with earlier packets.
    Appended,
    /// It is a frame that later packets may join.
    Opened,
    /// The range does not lie in the arena; nothing was done.
    Refused,
}

/// One write to the device: `head`, then the `pieces` of the arena.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The encoded [`Offload`], followed by the headers if the frame is a super packet; up to 130 bytes.
    pub head: &'a [u8],
    /// The whole packet, or the payloads of a super packet; 1 to 500, none of them empty unless the packet is.
    pub pieces: &'a [Range<usize>],
}

impl Frame<'_> {
    /// Bytes of the packets that the frame was made of, one per piece, each with its headers.
    pub fn total_len(&self) -> usize {
        let header_len = self.head.len() - Offload::LEN;
        self.pieces.iter().map(|piece| header_len + piece.len()).sum()
    }
}

/// The memory of one frame. While its flow is open, the head holds the headers of the first packet, and the pieces are payload.
#[derive(Debug)]
struct FrameBuffer {
    head: [u8; MAX_HEAD_LEN],
    head_len: usize,
    pieces: Vec<Range<usize>>,
}

/// An offload header and the longest headers that are joined: IPv4 and TCP, both with 40 bytes of options.
const MAX_HEAD_LEN: usize = Offload::LEN + 60 + 60;

/// As many flows as Linux keeps per hash bucket (`MAX_GRO_SKBS`); a batch rarely has more, and a search stays short.
const MAX_OPEN_FLOWS: usize = 8;
