//! Capsules: how IP packets lie in a byte stream between two of our agents (RFC 9297, section 3.2; RFC 9484, section 6).
//!
//! ```text
//! capsule       type varint, length varint, value of that many bytes       varint: RFC 9000, section 16
//!
//! DATAGRAM      type 0x00
//!               context id varint 0, then one complete IP packet           other contexts mean nothing and are skipped
//! SUPER PACKET  type 0x2018_dc35
//!               10 bytes struct virtio_net_hdr, fields little endian       virtio 1.3, section 5.1.6
//!               one IP packet as that header describes it: of up to 65,575 bytes, to be cut into segments of one flow,
//!               its checksum not filled in
//! others        skipped (RFC 9297, section 3.2)
//! ```
//!
//! The registry of capsule types has no private range; a type of one's own is to be drawn at random (RFC 9000, section 22.1),
//! which this was, and must not be one of those that mean nothing, 0x29 * N + 0x17 (RFC 9297, section 5.4).

/// One capsule, as far as its value has a meaning here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capsule<'a> {
    /// A complete IP packet.
    Packet(&'a [u8]),
    /// A capsule of another type or context, to be skipped.
    Skipped,
    /// A packet as a TUN device with offloads hands it out and takes it.
    SuperPacket {
        /// The header before it, fields in the byte order of this machine.
        header: [u8; HEADER_LEN],
        /// The packet.
        packet: &'a [u8],
    },
}

impl<'a> Capsule<'a> {
    /// Reads the capsule at the front of `bytes` and returns it with its length, or `None` if it is not all there yet.
    ///
    /// A reader needs to keep [`MAX_CAPSULE_LEN`] bytes at most to get on.
    ///
    /// # Errors
    ///
    /// A capsule that is longer than that, or too short for what it is; the stream has no further meaning then.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, CapsuleError> {
        let mut rest = bytes;
        let (Some(kind), Some(len)) = (take_varint(&mut rest), take_varint(&mut rest)) else {
            return Ok(None);
        };
        let len = usize::try_from(len).ok().filter(|len| *len <= MAX_VALUE_LEN).ok_or(CapsuleError::TooLong { len })?;
        let Some(value) = rest.get(..len) else {
            return Ok(None);
        };
        let capsule = match kind {
            DATAGRAM => {
                let mut payload = value;
                match take_varint(&mut payload).ok_or(CapsuleError::TooShort { kind, len })? {
                    IP_PACKETS => Self::Packet(payload),
                    _ => Self::Skipped,
                }
            }
            SUPER_PACKET => {
                let (header, packet) = value.split_first_chunk().ok_or(CapsuleError::TooShort { kind, len })?;
                Self::SuperPacket { header: turned(*header), packet }
            }
            _ => Self::Skipped,
        };
        Ok(Some((capsule, bytes.len() - rest.len() + len)))
    }

    /// Appends the capsule to `out`; nothing for [`Capsule::Skipped`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Packet(packet) => {
                out.reserve(MAX_HEAD_LEN + 1 + packet.len());
                put_varint(out, DATAGRAM);
                put_varint(out, packet.len() as u64 + 1);
                put_varint(out, IP_PACKETS);
                out.extend_from_slice(packet);
            }
            Self::Skipped => {}
            Self::SuperPacket { header, packet } => {
                out.reserve(MAX_HEAD_LEN + HEADER_LEN + packet.len());
                put_varint(out, SUPER_PACKET);
                put_varint(out, (HEADER_LEN + packet.len()) as u64);
                out.extend_from_slice(&turned(header));
                out.extend_from_slice(packet);
            }
        }
    }
}

/// Why bytes are no capsules of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapsuleError {
    /// The value is longer than any we take.
    #[error("a capsule of {len} bytes, of at most {MAX_VALUE_LEN}")]
    TooLong {
        /// Bytes announced.
        len: u64,
    },
    /// The value ends within its fixed part.
    #[error("a capsule of type {kind:#x} with only {len} bytes")]
    TooShort {
        /// Type of the capsule.
        kind: u64,
        /// Bytes of its value.
        len: usize,
    },
}

/// Between the byte order of this machine and that of the stream: of the four 16-bit fields after two single bytes.
fn turned(mut header: [u8; HEADER_LEN]) -> [u8; HEADER_LEN] {
    if cfg!(target_endian = "big") {
        for field in header[2..].as_chunks_mut::<2>().0 {
            field.reverse();
        }
    }
    header
}

/// Takes a variable-length integer of 1, 2, 4 or 8 bytes off the front, if it is all there (RFC 9000, section 16).
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let (found, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = rest;
    Some(found[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte)))
}

/// Appends `value`, which is below 2^30, in as few bytes as it takes.
#[expect(clippy::cast_possible_truncation, reason = "each arm takes what fits")]
fn put_varint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..0x40 => out.push(value as u8),
        0x40..0x4000 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        _ => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
    }
}

/// Longest capsule that is read, in bytes.
pub const MAX_CAPSULE_LEN: usize = 2 * 8 + MAX_VALUE_LEN;

/// Longest value: a super packet of IPv6, whose payload alone may have 65,535 bytes.
const MAX_VALUE_LEN: usize = HEADER_LEN + 40 + 65_535;

/// Type and length as this side writes them.
const MAX_HEAD_LEN: usize = 4 + 4;

/// Length of `struct virtio_net_hdr`.
const HEADER_LEN: usize = 10;

/// Capsule type of an HTTP datagram (RFC 9297, section 3.5).
const DATAGRAM: u64 = 0;

/// Context of whole IP packets (RFC 9484, section 6).
const IP_PACKETS: u64 = 0;

/// Capsule type of a super packet.
const SUPER_PACKET: u64 = 0x2018_dc35;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: [u8; HEADER_LEN] = [1, 1, 0x34, 0, 0x78, 0x05, 20, 0, 16, 0];

    fn encoded(capsule: Capsule<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        capsule.encode(&mut out);
        out
    }

    #[test]
    fn a_packet_is_a_datagram_of_context_zero() {
        assert_eq!(encoded(Capsule::Packet(&[0x45, 1, 2])), [0, 4, 0, 0x45, 1, 2]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_super_packet_has_type_length_and_header_before_it() {
        let out = encoded(Capsule::SuperPacket { header: HEADER, packet: &[0x60; 100] });

        assert_eq!(out[..4], [0xa0, 0x18, 0xdc, 0x35]);
        assert_eq!(out[4..6], [0x40, 110]);
        assert_eq!(out[6..16], HEADER);
        assert_eq!(out[16..], [0x60; 100]);
    }

    #[test]
    fn the_type_of_super_packets_is_none_that_must_mean_nothing() {
        assert_ne!(SUPER_PACKET % 0x29, 0x17);
    }

    #[test]
    fn integers_of_every_length_are_read() {
        // The examples of RFC 9000, appendix A.1, and the longest form of zero.
        let cases: [(&[u8], u64); 5] = [
            (&[0x25], 37),
            (&[0x7b, 0xbd], 15_293),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0xc0, 0, 0, 0, 0, 0, 0, 0], 0),
        ];
        for (bytes, value) in cases {
            let mut rest = bytes;
            assert_eq!((take_varint(&mut rest), rest.len()), (Some(value), 0));
            assert_eq!(take_varint(&mut &bytes[1..][..0]), None);
        }
    }

    #[test]
    fn other_types_and_contexts_are_skipped() {
        for bytes in [&[0x17, 2, 9, 9][..], &[0, 2, 2, 9], &[0x40, 0x40, 0]] {
            assert_eq!(Capsule::decode(bytes), Ok(Some((Capsule::Skipped, bytes.len()))));
        }
    }

    #[test]
    fn what_is_too_long_or_too_short_is_refused() {
        let too_long = [0, 0x80, 1, 0, 0x40];
        assert_eq!(Capsule::decode(&too_long), Err(CapsuleError::TooLong { len: 65_600 }));
        assert_eq!(Capsule::decode(&[0, 0]), Err(CapsuleError::TooShort { kind: 0, len: 0 }));
        let headless = [0xa0, 0x18, 0xdc, 0x35, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Capsule::decode(&headless), Err(CapsuleError::TooShort { kind: SUPER_PACKET, len: 9 }));
    }

    #[test]
    fn a_part_of_a_capsule_waits_for_the_rest() {
        let whole = encoded(Capsule::SuperPacket { header: HEADER, packet: &[7; 300] });
        for cut in 0..whole.len() {
            assert_eq!(Capsule::decode(&whole[..cut]), Ok(None), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_of_what_follows(
            packet in prop::collection::vec(any::<u8>(), 0..70),
            repeat in 1usize..900,
            header in prop::option::of(any::<[u8; HEADER_LEN]>()),
            after in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let packet = packet.repeat(repeat);
            let capsule = match header {
                Some(header) => Capsule::SuperPacket { header, packet: &packet },
                None => Capsule::Packet(&packet),
            };
            let mut bytes = encoded(capsule);
            let len = bytes.len();
            bytes.extend(after);

            prop_assert_eq!(Capsule::decode(&bytes), Ok(Some((capsule, len))));
        }

        #[test]
        fn arbitrary_bytes_end_in_a_capsule_within_them_an_error_or_a_wish_for_more(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(Some((_, len))) = Capsule::decode(&bytes) {
                prop_assert!(len > 1 && len <= bytes.len());
            }
        }

        #[test]
        fn no_more_than_the_longest_capsule_is_ever_waited_for(head in prop::collection::vec(any::<u8>(), 16)) {
            let mut bytes = head;
            bytes.resize(MAX_CAPSULE_LEN, 0);
            prop_assert_ne!(Capsule::decode(&bytes), Ok(None));
        }
    }
}
