use std::fmt;

use crate::checksum::Checksum;
use crate::header::Version;
use crate::layout::{Layout, LayoutError, Transport, complete_checksum_at, length_word, read_word, write_word};
use crate::offload::{ChecksumField, Offload, SegmentKind, Segmentation};

/// Cuts a packet read from a TUN device into what is to be sent.
///
/// A packet without segmentation is one segment, whatever it is. The cut of a super packet follows what Linux does in
/// `tcp_gso_segment` and `__udp_gso_segment`: every segment has the headers of the super packet, with lengths, checksums, IPv4
/// identification and TCP sequence number of its own; FIN and PSH stay on the last segment, CWR on the first. The hint
/// [`Offload::header_len`] is not used.
///
/// # Errors
///
/// When the packet is not what `offload` says it is, or a length in it is wrong; see [`SplitError`].
#[inline]
pub fn split<'a>(packet: &'a [u8], offload: &Offload) -> Result<Segments<'a>, SplitError> {
    let plan = match &offload.segmentation {
        Some(segmentation) => Plan::Cut(Cut::new(packet, segmentation, offload.checksum)?),
        None => Plan::Whole(offload.checksum.map(|field| Unfinished::new(packet, field)).transpose()?),
    };
    Ok(Segments { packet, plan })
}

/// The segments of one packet; written one at a time, in any order.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    packet: &'a [u8],
    plan: Plan,
}

#[derive(Clone, Debug)]
enum Plan {
    Cut(Cut),
    Whole(Option<Unfinished>),
}

impl Segments<'_> {
    /// Number of segments, at least 1.
    ///
    /// No more than the packet has bytes: a segment size of 1 makes up to 65,535 segments, each with all headers.
    #[inline]
    pub fn count(&self) -> usize {
        match &self.plan {
            Plan::Cut(cut) => cut.count,
            Plan::Whole(_) => 1,
        }
    }

    /// Length of segment `index` in bytes, headers included; 0 when there is no such segment.
    #[inline]
    pub fn len_of(&self, index: usize) -> usize {
        if index >= self.count() {
            return 0;
        }
        match &self.plan {
            Plan::Cut(cut) => cut.layout.header_len + cut.payload(self.packet, index).len(),
            Plan::Whole(_) => self.packet.len(),
        }
    }

    /// Bytes of all segments, headers included.
    #[inline]
    pub fn total_len(&self) -> usize {
        match &self.plan {
            Plan::Cut(cut) => self.packet.len() + (cut.count - 1) * cut.layout.header_len,
            Plan::Whole(_) => self.packet.len(),
        }
    }

    /// Whether [`L4Checksum::Partial`] leaves the checksum of the segments unfinished.
    ///
    /// False for a packet whose checksum is complete already, and for one whose checksum is not that of a TCP or UDP header
    /// which the receiver would find: [`Segments::write`] completes the latter in both modes.
    #[inline]
    pub fn is_partial(&self) -> bool {
        match &self.plan {
            Plan::Cut(_) => true,
            Plan::Whole(unfinished) => unfinished.is_some_and(|unfinished| unfinished.is_transport),
        }
    }

    /// Writes segment `index` to the start of `out` and returns its length.
    ///
    /// # Errors
    ///
    /// When there is no such segment or `out` is shorter than it.
    #[inline]
    pub fn write(&self, index: usize, out: &mut [u8], checksum: L4Checksum) -> Result<usize, SplitError> {
        if index >= self.count() {
            return Err(SplitError::Index { index, count: self.count() });
        }
        let len = self.len_of(index);
        let found = out.len();
        let out = out.get_mut(..len).ok_or(SplitError::Output { needed: len, found })?;
        match &self.plan {
            Plan::Cut(cut) => cut.write(self.packet, index, out, checksum),
            Plan::Whole(unfinished) => {
                out.copy_from_slice(self.packet);
                if let Some(unfinished) = unfinished
                    && (checksum == L4Checksum::Complete || !unfinished.is_transport)
                {
                    complete_checksum_at(out, unfinished.start, unfinished.at);
                }
            }
        }
        Ok(len)
    }
}

/// What the checksum field of a segment is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4Checksum {
    /// The checksum of TCP or UDP, as every receiver expects it.
    Complete,
    /// The folded sum of the pseudo-header, as a kernel expects it together with [`Offload::checksum`]: for a receiver that
    /// knows otherwise that the segment is intact.
    Partial,
}

/// The checksum of a packet that is not cut.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    start: usize,
    /// Where the field is, from the start of the packet.
    at: usize,
    /// Whether it is the checksum of the TCP or UDP header of the packet, rather than, say, of a packet inside it.
    is_transport: bool,
}

impl Unfinished {
    fn new(packet: &[u8], field: ChecksumField) -> Result<Self, SplitError> {
        let header = crate::parse(packet).map_err(|error| SplitError::Layout(LayoutError::Ip(error)))?;
        let start = usize::from(field.start);
        let at = start + usize::from(field.offset);
        if start < header.header_len() || at + 2 > packet.len() {
            return Err(SplitError::ChecksumField(field));
        }
        let is_transport = Layout::of(packet).is_ok_and(|layout| (layout.start, layout.checksum_at()) == (start, at));
        Ok(Self { start, at, is_transport })
    }
}

/// What all segments of a super packet share.
#[derive(Clone, Debug)]
struct Cut {
    layout: Layout,
    /// Payload bytes per segment, not 0.
    size: usize,
    count: usize,
    /// Sum of an IPv4 header without total length, identification and checksum; unused for IPv6.
    ip_sum: Checksum,
    /// Sum of the pseudo-header without the length.
    pseudo_header: Checksum,
}

impl Cut {
    fn new(packet: &[u8], wanted: &Segmentation, field: Option<ChecksumField>) -> Result<Self, SplitError> {
        let layout = Layout::of(packet).map_err(SplitError::Layout)?;
        let is_claimed = match wanted.kind {
            SegmentKind::Tcp4 => (layout.transport, layout.version) == (Transport::Tcp, Version::V4),
            SegmentKind::Tcp6 => (layout.transport, layout.version) == (Transport::Tcp, Version::V6),
            SegmentKind::Udp => layout.transport == Transport::Udp,
        };
        if !is_claimed {
            return Err(SplitError::SegmentKind { claimed: wanted.kind });
        }
        if wanted.size == 0 {
            return Err(SplitError::SegmentSize);
        }
        let expected = (layout.start, layout.transport.checksum_offset());
        if let Some(field) = field
            && (usize::from(field.start), usize::from(field.offset)) != expected
        {
            return Err(SplitError::ChecksumField(field));
        }
        let size = usize::from(wanted.size);
        let ip_sum = match layout.version {
            Version::V4 => Checksum::new().with(&packet[..2]).with(&packet[6..10]).with(&packet[12..layout.start]),
            Version::V6 => Checksum::new(),
        };
        Ok(Self {
            layout,
            size,
            count: (packet.len() - layout.header_len).div_ceil(size).max(1),
            ip_sum,
            pseudo_header: layout.pseudo_header(packet),
        })
    }

    /// The payload of segment `index`, which exists.
    #[inline]
    fn payload<'a>(&self, packet: &'a [u8], index: usize) -> &'a [u8] {
        let rest = &packet[self.layout.header_len + index * self.size..];
        &rest[..rest.len().min(self.size)]
    }

    /// Writes segment `index`, which exists and is as long as `out`.
    #[inline]
    fn write(&self, packet: &[u8], index: usize, out: &mut [u8], checksum: L4Checksum) {
        let Layout { version, transport, start, header_len } = self.layout;
        let (headers, payload) = out.split_at_mut(header_len);
        headers.copy_from_slice(&packet[..header_len]);
        payload.copy_from_slice(self.payload(packet, index));

        match version {
            Version::V4 => self.write_ipv4(index, out),
            Version::V6 => write_word(out, 4, length_word(out.len() - IPV6_HEADER_LEN)),
        }
        let segment_len = length_word(out.len() - start);
        match transport {
            Transport::Tcp => self.write_tcp(index, &mut out[start..]),
            Transport::Udp => write_word(out, start + 4, segment_len),
        }
        let at = self.layout.checksum_at();
        write_word(out, at, self.pseudo_header.with_word(segment_len).fold());
        if checksum == L4Checksum::Complete {
            complete_checksum_at(out, start, at);
        }
    }

    #[inline]
    fn write_ipv4(&self, index: usize, out: &mut [u8]) {
        let total_len = length_word(out.len());
        let identification = read_word(out, 4).wrapping_add(length_word(index));
        write_word(out, 2, total_len);
        write_word(out, 4, identification);
        write_word(out, 10, self.ip_sum.with_word(total_len).with_word(identification).finish());
    }

    #[inline]
    fn write_tcp(&self, index: usize, segment: &mut [u8]) {
        let offset = u32::try_from(index * self.size).expect("within a packet");
        let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]).wrapping_add(offset);
        segment[4..8].copy_from_slice(&sequence.to_be_bytes());
        if index > 0 {
            segment[13] &= !TCP_CWR;
        }
        if index + 1 < self.count {
            segment[13] &= !(TCP_FIN | TCP_PSH);
        }
    }
}

/// Why a packet cannot be cut, or a segment not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitError {
    /// The checksum would start in the IP header, lie behind the packet or, in a super packet, not be that of its TCP or UDP
    /// header.
    ChecksumField(ChecksumField),
    /// There is no such segment.
    Index {
        /// The segment asked for, from 0.
        index: usize,
        /// Number of segments.
        count: usize,
    },
    /// A super packet is no whole TCP or UDP packet, or one with an unfinished checksum no IP packet.
    Layout(LayoutError),
    /// The room for a segment is shorter than it.
    Output {
        /// Length of the segment in bytes.
        needed: usize,
        /// Room in bytes.
        found: usize,
    },
    /// The packet is not of the kind its segmentation is for.
    SegmentKind {
        /// The kind it is said to be.
        claimed: SegmentKind,
    },
    /// Segments of no payload.
    SegmentSize,
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChecksumField(ChecksumField { start, offset }) => {
                write!(f, "no checksum from byte {start} can be at {offset} behind it")
            }
            Self::Index { index, count } => write!(f, "no segment {index} among {count}"),
            Self::Layout(_) => write!(f, "failed to find the headers of the packet"),
            Self::Output { needed, found } => write!(f, "a segment of {needed} bytes does not fit into {found}"),
            Self::SegmentKind { claimed } => write!(f, "the packet does not consist of {claimed:?} segments"),
            Self::SegmentSize => write!(f, "the segment size is 0"),
        }
    }
}

impl std::error::Error for SplitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Layout(source) => Some(source),
            Self::ChecksumField(_)
            | Self::Index { .. }
            | Self::Output { .. }
            | Self::SegmentKind { .. }
            | Self::SegmentSize => None,
        }
    }
}

const IPV6_HEADER_LEN: usize = 40;

/// Flags in byte 13 of a TCP header (RFC 9293, section 3.1).
const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;
