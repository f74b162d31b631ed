use std::ops::{ControlFlow, Range};

use super::FrameBuffer;
use crate::checksum::{checksum, is_checksum_valid};
use crate::header::Version;
use crate::layout::{Layout, Transport, length_word, read_word, write_word};
use crate::offload::{ChecksumField, Offload, SegmentKind, Segmentation};

/// A flow whose last packets may still be continued.
#[derive(Debug)]
pub(super) struct Flow {
    /// Number of the frame that grows.
    pub(super) frame: usize,
    layout: Layout,
    /// Source and destination port, as they are in the packet.
    ports: [u8; 4],
    /// Whether the checksum of the first packet is unfinished.
    is_partial: bool,
    /// Payload length of the first packet, which those that follow must have, except the last.
    size: usize,
    /// Length of the super packet so far.
    len: usize,
    /// TCP sequence number that continues the flow.
    next_sequence: u32,
}

impl Flow {
    /// Starts a super packet in `frame`, whose number is `index`, with a joinable packet that lies at `range`.
    #[inline]
    pub(super) fn open(
        index: usize,
        frame: &mut FrameBuffer,
        layout: &Layout,
        packet: &[u8],
        range: Range<usize>,
        is_partial: bool,
    ) -> Self {
        let Layout { start, header_len, .. } = *layout;
        frame.head_len = Offload::LEN + header_len;
        frame.head[Offload::LEN..frame.head_len].copy_from_slice(&packet[..header_len]);
        frame.pieces.push(range.start + header_len..range.end);
        let size = packet.len() - header_len;
        let next_sequence = match layout.transport {
            Transport::Tcp => advance(sequence(&packet[start..]), size),
            Transport::Udp => 0,
        };
        let ports = ports(layout, packet);
        Self { frame: index, layout: *layout, ports, is_partial, size, len: packet.len(), next_sequence }
    }

    /// Whether `packet` has the addresses, protocol and ports of this flow.
    #[inline]
    pub(super) fn owns(&self, frame: &FrameBuffer, layout: &Layout, packet: &[u8]) -> bool {
        self.ports == ports(layout, packet)
            && self.layout.transport == layout.transport
            && self.is_between_hosts_of(frame, packet)
    }

    /// Whether `packet`, which is a whole IP packet, has the addresses of this flow.
    #[inline]
    pub(super) fn is_between_hosts_of(&self, frame: &FrameBuffer, packet: &[u8]) -> bool {
        let headers = frame.headers();
        let addresses = match self.layout.version {
            Version::V4 => 12..20,
            Version::V6 => 8..40,
        };
        headers[0] >> 4 == packet[0] >> 4 && headers[addresses.clone()] == packet[addresses]
    }

    /// Whether a joinable packet of this flow differs from the one before only in what cutting a super packet restores.
    #[inline]
    pub(super) fn is_continued_by(&self, frame: &FrameBuffer, layout: &Layout, packet: &[u8]) -> bool {
        let payload_len = packet.len() - layout.header_len;
        let fits = payload_len <= self.size && self.len + payload_len <= MAX_LEN;
        if !fits || frame.pieces.len() >= max_segments(layout.transport) || self.layout != *layout {
            return false;
        }
        let (ip, segment) = packet[..layout.header_len].split_at(layout.start);
        let (first_ip, first_segment) = frame.headers().split_at(layout.start);
        let is_ip_equal = match layout.version {
            Version::V4 => {
                let expected = read_word(first_ip, 4).wrapping_add(length_word(frame.pieces.len()));
                first_ip[1] == ip[1]
                    && first_ip[6..10] == ip[6..10]
                    && first_ip[20..] == ip[20..]
                    && (ip[6] & DONT_FRAGMENT != 0 || read_word(ip, 4) == expected)
            }
            Version::V6 => first_ip[..4] == ip[..4] && first_ip[6..8] == ip[6..8],
        };
        is_ip_equal
            && match layout.transport {
                Transport::Tcp => {
                    sequence(segment) == self.next_sequence
                        && first_segment[8..12] == segment[8..12]
                        && first_segment[14..16] == segment[14..16]
                        && first_segment[18..] == segment[18..]
                }
                Transport::Udp => true,
            }
    }

    /// Joins a packet that continues this flow; breaks when no other may follow.
    #[inline]
    pub(super) fn append(&mut self, frame: &mut FrameBuffer, packet: &[u8], range: Range<usize>) -> ControlFlow<()> {
        let Layout { start, header_len, .. } = self.layout;
        let payload_len = packet.len() - header_len;
        let is_pushed = is_pushed(&self.layout, packet);
        if is_pushed {
            frame.headers_mut()[start + TCP_FLAGS] |= TCP_PSH;
        }
        frame.pieces.push(range.start + header_len..range.end);
        self.len += payload_len;
        self.next_sequence = advance(self.next_sequence, payload_len);
        if is_pushed || payload_len < self.size { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Writes the head of `frame`, which is complete.
    ///
    /// A packet that stayed alone is passed bit by bit.
    #[inline]
    pub(super) fn finish(&self, frame: &mut FrameBuffer) {
        let offload = if let [packet] = &mut frame.pieces[..] {
            packet.start -= self.layout.header_len;
            frame.head_len = Offload::LEN;
            single(&self.layout, self.is_partial)
        } else {
            self.write_lengths(frame.headers_mut());
            Offload {
                checksum: Some(checksum_field(&self.layout)),
                is_verified: false,
                segmentation: Some(Segmentation {
                    kind: match (self.layout.transport, self.layout.version) {
                        (Transport::Tcp, Version::V4) => SegmentKind::Tcp4,
                        (Transport::Tcp, Version::V6) => SegmentKind::Tcp6,
                        (Transport::Udp, _) => SegmentKind::Udp,
                    },
                    size: length_word(self.size),
                    is_ecn: false,
                }),
                header_len: length_word(self.layout.header_len),
            }
        };
        frame.head[..Offload::LEN].copy_from_slice(&offload.encode());
    }

    /// Writes what depends on the length of the super packet.
    fn write_lengths(&self, headers: &mut [u8]) {
        let Layout { version, transport, start, .. } = self.layout;
        match version {
            Version::V4 => {
                write_word(headers, 2, length_word(self.len));
                write_word(headers, 10, 0);
                let sum = checksum(&headers[..start]);
                write_word(headers, 10, sum);
            }
            Version::V6 => write_word(headers, 4, length_word(self.len - start)),
        }
        let segment_len = length_word(self.len - start);
        if transport == Transport::Udp {
            write_word(headers, start + 4, segment_len);
        }
        let sum = self.layout.pseudo_header(headers).with_word(segment_len).fold();
        write_word(headers, self.layout.checksum_at(), sum);
    }
}

impl FrameBuffer {
    /// The headers of the first packet.
    #[inline]
    fn headers(&self) -> &[u8] {
        &self.head[Offload::LEN..self.head_len]
    }

    #[inline]
    fn headers_mut(&mut self) -> &mut [u8] {
        &mut self.head[Offload::LEN..self.head_len]
    }
}

/// Whether a packet can be part of a super packet, as far as the packet itself tells; its TCP or UDP checksum aside.
#[inline]
pub(super) fn is_joinable(layout: &Layout, packet: &[u8], joins_udp: bool) -> bool {
    let Layout { version, transport, start, header_len } = *layout;
    let is_ip_plain = match version {
        Version::V4 => is_checksum_valid(&packet[..start]),
        Version::V6 => start == 40,
    };
    let is_transport_plain = match transport {
        Transport::Tcp => packet[start + 12] & 0x0f == 0 && packet[start + TCP_FLAGS] & !TCP_PSH == TCP_ACK,
        Transport::Udp => joins_udp,
    };
    header_len < packet.len() && is_transport_plain && is_ip_plain
}

/// Whether a packet asks to be handed to the application at once, so that none may follow it in a super packet.
#[inline]
pub(super) fn is_pushed(layout: &Layout, packet: &[u8]) -> bool {
    layout.transport == Transport::Tcp && packet[layout.start + TCP_FLAGS] & TCP_PSH != 0
}

/// The offload header of a packet that stays alone.
#[inline]
pub(super) fn single(layout: &Layout, is_partial: bool) -> Offload {
    Offload { checksum: is_partial.then(|| checksum_field(layout)), ..Offload::default() }
}

#[inline]
fn checksum_field(layout: &Layout) -> ChecksumField {
    ChecksumField { start: length_word(layout.start), offset: length_word(layout.transport.checksum_offset()) }
}

#[inline]
fn ports(layout: &Layout, packet: &[u8]) -> [u8; 4] {
    let at = layout.start;
    [packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]
}

/// The sequence number of a TCP segment.
#[inline]
fn sequence(segment: &[u8]) -> u32 {
    u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]])
}

#[inline]
fn advance(sequence: u32, payload_len: usize) -> u32 {
    sequence.wrapping_add(u32::from(length_word(payload_len)))
}

#[inline]
fn max_segments(transport: Transport) -> usize {
    match transport {
        Transport::Tcp => MAX_TCP_SEGMENTS,
        Transport::Udp => MAX_UDP_SEGMENTS,
    }
}

/// What an IPv4 total length can say; the same for IPv6.
const MAX_LEN: usize = 65_535;

/// With the head, half of the 1,024 pieces that `writev` takes (`IOV_MAX`).
const MAX_TCP_SEGMENTS: usize = 500;

/// What Linux' own receive offload joins (`UDP_GRO_CNT_MAX`), and so what readers of `UDP_GRO` sockets have room for.
const MAX_UDP_SEGMENTS: usize = 64;

/// In byte 6 of an IPv4 header (RFC 791, section 3.1).
const DONT_FRAGMENT: u8 = 0x40;

/// Place of the flags in a TCP header, and two of them (RFC 9293, section 3.1).
const TCP_FLAGS: usize = 13;
const TCP_ACK: u8 = 0x10;
const TCP_PSH: u8 = 0x08;
