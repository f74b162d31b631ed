use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The fields of an IP header that routing needs, copied out of the packet.
///
/// IPv4 (RFC 791, section 3.1), all fields big-endian, 20 bytes and up to 40 bytes of options:
///
/// ```text
/// byte  0  version (high nibble, 4), header length in 32-bit words (low nibble, 5 to 15)
///       2  total length: header and payload, 2 bytes
///       6  flags (3 bits: reserved, don't fragment, more fragments), fragment offset (13 bits)
///       9  protocol
///      10  header checksum, 2 bytes, not looked at by [`parse`]
///      12  source address, 4 bytes
///      16  destination address, 4 bytes
/// ```
///
/// IPv6 (RFC 8200, section 3), 40 bytes:
///
/// ```text
/// byte  0  version (high nibble, 6)
///       4  payload length: what follows these 40 bytes, 2 bytes
///       6  next header
///       8  source address, 16 bytes
///      24  destination address, 16 bytes
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    is_fragment: bool,
    header_len: usize,
    total_len: usize,
}

impl IpHeader {
    /// Version of the packet; source and destination are of this family.
    pub fn version(&self) -> Version {
        if self.source.is_ipv4() { Version::V4 } else { Version::V6 }
    }

    /// Source address.
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// Destination address.
    pub fn destination(&self) -> IpAddr {
        self.destination
    }

    /// Source and destination of an IPv4 packet.
    pub fn ipv4(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some((source, destination)),
            (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
        }
    }

    /// The protocol field of IPv4; the next header of IPv6, which may be an extension header.
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Whether this is a fragment, the first included, of an IPv4 packet; always false for IPv6.
    pub fn is_fragment(&self) -> bool {
        self.is_fragment
    }

    /// Length of the header in bytes: 20 to 60 for IPv4, 40 for IPv6 whose extension headers count as payload.
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Length of header and payload in bytes; no more than was given to [`parse`].
    pub fn total_len(&self) -> usize {
        self.total_len
    }

    /// The packet without the padding that may follow it.
    ///
    /// `packet` is what this header was parsed from; of anything shorter than the packet, all is returned.
    pub fn trim<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(..self.total_len()).unwrap_or(packet)
    }
}

/// Reads the header of the packet that starts `bytes`; padding may follow it.
///
/// Checksums are not verified: the original does not either, and a receiving kernel does.
///
/// # Errors
///
/// When there is no whole IPv4 or IPv6 packet; see [`ParseError`].
pub fn parse(bytes: &[u8]) -> Result<IpHeader, ParseError> {
    match bytes.first().map(|first| first >> 4) {
        None => Err(ParseError::Truncated { needed: 1, found: 0 }),
        Some(4) => parse_ipv4(bytes),
        Some(6) => parse_ipv6(bytes),
        Some(found) => Err(ParseError::Version { found }),
    }
}

fn parse_ipv4(bytes: &[u8]) -> Result<IpHeader, ParseError> {
    let fixed: &[u8; IPV4_HEADER_LEN] = first_chunk(bytes)?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    if header_len < IPV4_HEADER_LEN {
        return Err(ParseError::HeaderLength { found: header_len });
    }
    let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if total_len < header_len {
        return Err(ParseError::TotalLength { header_len, found: total_len });
    }
    require(bytes, total_len)?;
    let more_fragments_or_offset = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff;
    Ok(IpHeader {
        source: IpAddr::V4(Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15])),
        destination: IpAddr::V4(Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19])),
        protocol: fixed[9],
        is_fragment: more_fragments_or_offset != 0,
        header_len,
        total_len,
    })
}

/// A payload length of 0 is taken as written: jumbograms (RFC 2675) do not exist on the links of a mesh.
fn parse_ipv6(bytes: &[u8]) -> Result<IpHeader, ParseError> {
    let fixed: &[u8; IPV6_HEADER_LEN] = first_chunk(bytes)?;
    let total_len = IPV6_HEADER_LEN + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    require(bytes, total_len)?;
    let address = |at: usize| -> Ipv6Addr {
        let octets: [u8; 16] = fixed[at..at + 16].try_into().expect("both addresses lie within the fixed header");
        octets.into()
    };
    Ok(IpHeader {
        source: IpAddr::V6(address(8)),
        destination: IpAddr::V6(address(24)),
        protocol: fixed[6],
        is_fragment: false,
        header_len: IPV6_HEADER_LEN,
        total_len,
    })
}

fn first_chunk<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], ParseError> {
    bytes.first_chunk().ok_or(ParseError::Truncated { needed: N, found: bytes.len() })
}

fn require(bytes: &[u8], needed: usize) -> Result<(), ParseError> {
    if bytes.len() < needed { Err(ParseError::Truncated { needed, found: bytes.len() }) } else { Ok(()) }
}

/// The version of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Why bytes are not an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The IPv4 header length is below the 20 bytes of the fixed fields.
    HeaderLength {
        /// Length found, in bytes.
        found: usize,
    },
    /// The IPv4 total length does not even cover the header.
    TotalLength {
        /// Length of the header, in bytes.
        header_len: usize,
        /// Total length found, in bytes.
        found: usize,
    },
    /// Less data than the header, or than the length it names.
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// Neither 4 nor 6.
    Version {
        /// Version found, 0 to 15.
        found: u8,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderLength { found } => write!(f, "an IPv4 header has 20 to 60 bytes, found {found}"),
            Self::TotalLength { header_len, found } => {
                write!(f, "a header of {header_len} bytes in an IPv4 packet of {found}")
            }
            Self::Truncated { needed, found } => write!(f, "the packet needs {needed} bytes, found {found}"),
            Self::Version { found } => write!(f, "IP version {found}"),
        }
    }
}

impl std::error::Error for ParseError {}

const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv6(payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        packet.extend([17, 64]);
        packet.extend("fd77::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend("fd77::2".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(payload);
        packet
    }

    #[test]
    fn an_ipv6_packet_gives_its_addresses_and_lengths() {
        let header = parse(&ipv6(&[1, 2, 3, 4, 5, 6, 7, 8])).unwrap();

        assert_eq!(header.version(), Version::V6);
        assert_eq!(header.source(), "fd77::1".parse::<IpAddr>().unwrap());
        assert_eq!(header.destination(), "fd77::2".parse::<IpAddr>().unwrap());
        assert_eq!((header.protocol(), header.header_len(), header.total_len()), (17, 40, 48));
        assert_eq!(header.ipv4(), None);
    }

    #[test]
    fn padding_after_a_packet_is_trimmed() {
        let mut packet = ipv6(&[9; 4]);
        packet.extend([0; 20]);

        let header = parse(&packet).unwrap();

        assert_eq!(header.trim(&packet).len(), 44);
    }

    #[test]
    fn a_length_beyond_the_data_is_refused() {
        let packet = ipv6(&[9; 4]);

        assert_eq!(parse(&packet[..43]), Err(ParseError::Truncated { needed: 44, found: 43 }));
        assert_eq!(parse(&packet[..39]), Err(ParseError::Truncated { needed: 40, found: 39 }));
        assert_eq!(parse(&[]), Err(ParseError::Truncated { needed: 1, found: 0 }));
    }

    #[test]
    fn versions_other_than_4_and_6_are_refused() {
        for version in (0..16).filter(|version| ![4, 6].contains(version)) {
            assert_eq!(parse(&[version << 4; 60]), Err(ParseError::Version { found: version }));
        }
    }
}
