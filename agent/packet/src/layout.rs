use std::fmt;

use crate::checksum::Checksum;
use crate::header::{ParseError, Version, parse};
use crate::protocol;

/// Fills in the checksum of a TCP or UDP packet whose checksum field holds the folded sum of the pseudo-header only, for a
/// device that does not do it.
///
/// A result of 0 is written as 0xffff, which is the same number in one's complement and which UDP asks for (RFC 768).
///
/// # Errors
///
/// When `packet` is not exactly one whole, unfragmented TCP or UDP packet; it is left as it was.
pub fn complete_checksum(packet: &mut [u8]) -> Result<(), LayoutError> {
    let layout = Layout::of(packet)?;
    complete_checksum_at(packet, layout.start, layout.checksum_at());
    Ok(())
}

/// Completes the checksum over everything from `start`, whose field is the 2 bytes at `at`; both lie in `packet`.
#[inline]
pub(crate) fn complete_checksum_at(packet: &mut [u8], start: usize, at: usize) {
    let checksum = match Checksum::new().with(&packet[start..]).finish() {
        0 => 0xffff,
        checksum => checksum,
    };
    write_word(packet, at, checksum);
}

/// Where the TCP or UDP header of a packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) version: Version,
    pub(crate) transport: Transport,
    /// First byte of the TCP or UDP header; behind IPv4 options or IPv6 extension headers.
    pub(crate) start: usize,
    /// Length of all headers in bytes, at most 65,535; the payload is the rest of the packet.
    pub(crate) header_len: usize,
}

impl Layout {
    /// The layout of `packet`, whose headers lie in it and whose lengths are those its headers name.
    #[inline]
    pub(crate) fn of(packet: &[u8]) -> Result<Self, LayoutError> {
        let header = parse(packet).map_err(LayoutError::Ip)?;
        if header.total_len() != packet.len() {
            return Err(LayoutError::TotalLength { named: header.total_len(), found: packet.len() });
        }
        if header.is_fragment() {
            return Err(LayoutError::Fragment);
        }
        let version = header.version();
        let (protocol, start) = match version {
            Version::V4 => (header.protocol(), header.header_len()),
            Version::V6 => skip_extension_headers(packet, header.protocol())?,
        };
        let transport = match protocol {
            protocol::TCP => Transport::Tcp,
            protocol::UDP => Transport::Udp,
            protocol::IPV6_FRAGMENT => return Err(LayoutError::Fragment),
            found => return Err(LayoutError::Protocol { found }),
        };
        let header_len = start + transport.header_len(&packet[start..])?;
        if header_len > usize::from(u16::MAX) {
            return Err(LayoutError::HeaderLength { found: header_len });
        }
        Ok(Self { version, transport, start, header_len })
    }

    /// Where the checksum field of TCP or UDP is.
    #[inline]
    pub(crate) fn checksum_at(&self) -> usize {
        self.start + self.transport.checksum_offset()
    }

    /// The pseudo-header of `packet` (RFC 9293, section 3.1; RFC 8200, section 8.1) without the length.
    #[inline]
    pub(crate) fn pseudo_header(&self, packet: &[u8]) -> Checksum {
        let addresses = match self.version {
            Version::V4 => &packet[12..20],
            Version::V6 => &packet[8..40],
        };
        Checksum::new().with(addresses).with_word(self.transport.protocol().into())
    }

    /// Whether the checksum of `packet` is there and right. UDP may go without (RFC 768), which counts as not right here.
    #[inline]
    pub(crate) fn is_checksum_valid(&self, packet: &[u8]) -> bool {
        let segment = &packet[self.start..];
        let is_absent = self.transport == Transport::Udp && read_word(segment, 6) == 0;
        let sum = self.pseudo_header(packet).with_word(length_word(segment.len())).with(segment);
        !is_absent && sum.finish() == 0
    }
}

/// The protocol and place of what follows the extension headers of an IPv6 packet (RFC 8200, section 4).
///
/// A routing header that is not used up is refused, because the checksum is then about another destination than the one in
/// front.
fn skip_extension_headers(packet: &[u8], mut next: u8) -> Result<(u8, usize), LayoutError> {
    let mut start = 40;
    while matches!(next, protocol::IPV6_HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS) {
        let rest = &packet[start..];
        let fixed: &[u8; 8] = rest.first_chunk().ok_or(LayoutError::Truncated { needed: 8, found: rest.len() })?;
        if next == ROUTING && fixed[3] != 0 {
            return Err(LayoutError::Routing { segments_left: fixed[3] });
        }
        let len = (usize::from(fixed[1]) + 1) * 8;
        if rest.len() < len {
            return Err(LayoutError::Truncated { needed: len, found: rest.len() });
        }
        next = fixed[0];
        start += len;
    }
    Ok((next, start))
}

/// The protocols whose packets are split and coalesced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// Number of the protocol in an IP header.
    #[inline]
    pub(crate) fn protocol(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
        }
    }

    /// Where the checksum is in a header.
    #[inline]
    pub(crate) fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }

    /// Length of the header that starts `segment`, which is all that follows the IP headers.
    #[inline]
    fn header_len(self, segment: &[u8]) -> Result<usize, LayoutError> {
        let (fixed_len, len) = match self {
            Self::Tcp => (20, segment.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4)),
            Self::Udp => (8, 8),
        };
        if segment.len() < fixed_len.max(len) {
            return Err(LayoutError::Truncated { needed: fixed_len.max(len), found: segment.len() });
        }
        if len < fixed_len {
            return Err(LayoutError::TcpHeaderLength { found: len });
        }
        if self == Self::Udp && usize::from(read_word(segment, 4)) != segment.len() {
            return Err(LayoutError::UdpLength { named: read_word(segment, 4), found: segment.len() });
        }
        Ok(len)
    }
}

/// The big-endian word at `at`, which lies in `bytes`.
#[inline]
pub(crate) fn read_word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes `word` big-endian at `at`, which lies in `bytes`.
#[inline]
pub(crate) fn write_word(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

/// `len` as a field. It is a length or place that [`Layout::of`] found to fit: that of an IPv4 packet, of its headers, or of what
/// is behind the first 40 bytes of an IPv6 packet.
#[inline]
pub(crate) fn length_word(len: usize) -> u16 {
    u16::try_from(len).expect("no longer than what a length field of the packet says")
}

/// Why a packet is not one whole TCP or UDP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// A fragment, the first included: its checksum covers bytes that are elsewhere.
    Fragment,
    /// More headers than an [`Offload`](crate::Offload) can point behind: 65,535 bytes.
    HeaderLength {
        /// Length of all headers, in bytes.
        found: usize,
    },
    /// No IP packet.
    Ip(ParseError),
    /// Neither TCP nor UDP.
    Protocol {
        /// The protocol found, behind the known extension headers of IPv6.
        found: u8,
    },
    /// An IPv6 routing header that names further destinations.
    Routing {
        /// How many.
        segments_left: u8,
    },
    /// The TCP header length is below the 20 bytes of the fixed fields.
    TcpHeaderLength {
        /// Length found, in bytes.
        found: usize,
    },
    /// The IP header names another length than the packet has.
    TotalLength {
        /// Length according to the header, in bytes.
        named: usize,
        /// Length of the packet, in bytes.
        found: usize,
    },
    /// A header ends behind the packet.
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes found.
        found: usize,
    },
    /// The UDP header names another length than it and its payload have.
    UdpLength {
        /// Length according to the header, in bytes.
        named: u16,
        /// Length found, in bytes.
        found: usize,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fragment => write!(f, "the packet is a fragment"),
            Self::HeaderLength { found } => write!(f, "headers of {found} bytes"),
            Self::Ip(_) => write!(f, "failed to read the IP header"),
            Self::Protocol { found } => write!(f, "protocol {found} is neither TCP nor UDP"),
            Self::Routing { segments_left } => write!(f, "a routing header with {segments_left} more destinations"),
            Self::TcpHeaderLength { found } => write!(f, "a TCP header has 20 to 60 bytes, found {found}"),
            Self::TotalLength { named, found } => write!(f, "an IP packet of {named} bytes has {found}"),
            Self::Truncated { needed, found } => write!(f, "a header needs {needed} bytes, found {found}"),
            Self::UdpLength { named, found } => write!(f, "a UDP datagram of {named} bytes has {found}"),
        }
    }
}

impl std::error::Error for LayoutError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ip(source) => Some(source),
            Self::Fragment
            | Self::HeaderLength { .. }
            | Self::Protocol { .. }
            | Self::Routing { .. }
            | Self::TcpHeaderLength { .. }
            | Self::TotalLength { .. }
            | Self::Truncated { .. }
            | Self::UdpLength { .. } => None,
        }
    }
}

/// Further IPv6 extension headers that may precede a whole packet (RFC 8200, sections 4.4 and 4.6).
pub(crate) const ROUTING: u8 = 43;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;
