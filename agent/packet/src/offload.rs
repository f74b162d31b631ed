use std::fmt;

/// What a TUN device opened with `IFF_VNET_HDR` says about the packet that follows, or is asked to do with it.
///
/// 10 bytes in the byte order of the machine (`struct virtio_net_hdr` of linux/virtio_net.h; virtio 1.3, section 5.1.6):
///
/// ```text
/// byte  0  flags: 1 = the checksum is to be filled in, 2 = the checksum was verified; others are ignored
///       1  segmentation: 0 none, 1 TCP over IPv4, 4 TCP over IPv6, 5 UDP; or 0x80 with TCP: keep the ECN rule
///       2  length of all headers, 2 bytes; a hint
///       4  payload bytes per segment, 2 bytes
///       6  where the checksum starts, 2 bytes, from the start of the packet
///       8  where its field is, 2 bytes, from the start of the checksum
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum that is not complete yet: its field holds the folded sum of the pseudo-header only.
    pub checksum: Option<ChecksumField>,
    /// Whether the checksum was found to be right, so that nobody needs to look again.
    pub is_verified: bool,
    /// How the packet is to be cut; `None` when it is a packet as it is.
    pub segmentation: Option<Segmentation>,
    /// Length of all headers in bytes. A hint: a kernel that forwards may give the length of its first buffer, so readers must
    /// look at the packet instead.
    pub header_len: u16,
}

impl Offload {
    /// Length of the encoding in bytes, without the field `num_buffers`, which TUN devices leave out by default.
    pub const LEN: usize = 10;

    /// Reads the header that starts `bytes`; the packet may follow it.
    ///
    /// Where the fields point to is not checked here but by [`split`](crate::split()), which sees the packet.
    ///
    /// # Errors
    ///
    /// When `bytes` is shorter than [`Offload::LEN`], or the kind of segmentation is none of [`SegmentKind`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, OffloadError> {
        let header: &[u8; Self::LEN] = bytes.first_chunk().ok_or(OffloadError::Truncated { found: bytes.len() })?;
        let [flags, kind, ..] = *header;
        let field = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let is_ecn = kind & GSO_ECN != 0;
        let segment_kind = match kind & !GSO_ECN {
            GSO_NONE if !is_ecn => None,
            GSO_TCPV4 => Some(SegmentKind::Tcp4),
            GSO_TCPV6 => Some(SegmentKind::Tcp6),
            GSO_UDP_L4 if !is_ecn => Some(SegmentKind::Udp),
            _ => return Err(OffloadError::SegmentKind { found: kind }),
        };
        Ok(Self {
            checksum: (flags & NEEDS_CSUM != 0).then(|| ChecksumField { start: field(6), offset: field(8) }),
            is_verified: flags & DATA_VALID != 0,
            segmentation: segment_kind.map(|kind| Segmentation { kind, size: field(4), is_ecn }),
            header_len: field(2),
        })
    }

    /// The header as a TUN device reads it.
    ///
    /// `is_ecn` of a UDP segmentation is left out, because there is no such thing.
    #[inline]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let checksum_flag = if self.checksum.is_some() { NEEDS_CSUM } else { 0 };
        let flags = checksum_flag | if self.is_verified { DATA_VALID } else { 0 };
        let (kind, size) = match self.segmentation {
            None => (GSO_NONE, 0),
            Some(Segmentation { kind, size, is_ecn }) => {
                let ecn = if is_ecn { GSO_ECN } else { 0 };
                let kind = match kind {
                    SegmentKind::Tcp4 => GSO_TCPV4 | ecn,
                    SegmentKind::Tcp6 => GSO_TCPV6 | ecn,
                    SegmentKind::Udp => GSO_UDP_L4,
                };
                (kind, size)
            }
        };
        let ChecksumField { start, offset } = self.checksum.unwrap_or_default();
        let [h0, h1] = self.header_len.to_ne_bytes();
        let [g0, g1] = size.to_ne_bytes();
        let [s0, s1] = start.to_ne_bytes();
        let [o0, o1] = offset.to_ne_bytes();
        [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1]
    }
}

/// The place of a checksum that covers everything from `start` to the end of the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChecksumField {
    /// First byte the checksum covers, from the start of the packet.
    pub start: u16,
    /// Where the checksum is written, from `start`: 16 for TCP, 6 for UDP.
    pub offset: u16,
}

/// A super packet: the headers of its first segment, with the payload of all segments behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// What is cut.
    pub kind: SegmentKind,
    /// Payload bytes of every segment but the last, which may have fewer.
    pub size: u16,
    /// Whether the flag CWR belongs to the first segment only (RFC 3168, section 6.1.2); TCP only.
    pub is_ecn: bool,
}

/// What a super packet is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// TCP segments over IPv4.
    Tcp4,
    /// TCP segments over IPv6.
    Tcp6,
    /// UDP datagrams over either; not the fragments of one datagram, which Linux no longer makes.
    Udp,
}

/// Why bytes are not an [`Offload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffloadError {
    /// A segmentation that is unknown or, like UDP fragmentation (3), not handled.
    SegmentKind {
        /// The byte found.
        found: u8,
    },
    /// Fewer bytes than [`Offload::LEN`].
    Truncated {
        /// Bytes given.
        found: usize,
    },
}

impl fmt::Display for OffloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentKind { found } => write!(f, "segmentation of the unknown kind {found:#04x}"),
            Self::Truncated { found } => write!(f, "an offload header has {} bytes, found {found}", Offload::LEN),
        }
    }
}

impl std::error::Error for OffloadError {}

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`.
const DATA_VALID: u8 = 2;

/// `VIRTIO_NET_HDR_GSO_*`.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_header_of_a_tcp_super_packet_has_every_field_in_its_place() {
        let offload = Offload {
            checksum: Some(ChecksumField { start: 20, offset: 16 }),
            is_verified: false,
            segmentation: Some(Segmentation { kind: SegmentKind::Tcp4, size: 1368, is_ecn: true }),
            header_len: 52,
        };

        let bytes = offload.encode();

        assert_eq!(bytes[..2], [1, 0x81]);
        let fields = [52u16, 1368, 20, 16].map(u16::to_ne_bytes);
        assert_eq!(bytes[2..], *fields.as_flattened());
        assert_eq!(Offload::parse(&bytes), Ok(offload));
    }

    #[test]
    fn all_zeros_ask_for_nothing() {
        assert_eq!(Offload::parse(&[0; 10]), Ok(Offload::default()));
        assert_eq!(Offload::default().encode(), [0; 10]);
    }

    #[test]
    fn unknown_segmentations_and_ecn_without_tcp_are_refused() {
        for kind in [2, 3, 6, 0x20, 0x40, 0x80, 0x83, 0x85] {
            let outcome = Offload::parse(&[0, kind, 0, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(outcome, Err(OffloadError::SegmentKind { found: kind }));
        }
    }

    #[test]
    fn nine_bytes_are_too_few() {
        assert_eq!(Offload::parse(&[0; 9]), Err(OffloadError::Truncated { found: 9 }));
    }

    proptest! {
        #[test]
        fn what_is_parsed_encodes_to_the_same_meaning(bytes in prop::array::uniform10(any::<u8>()), kind in 0u8..6) {
            let mut bytes = bytes;
            bytes[1] = kind;
            if let Ok(offload) = Offload::parse(&bytes) {
                prop_assert_eq!(Offload::parse(&offload.encode()), Ok(offload));
            }
        }
    }
}
