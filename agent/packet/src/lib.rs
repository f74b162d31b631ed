//! IP packets as bytes: headers, checksums, flow hashes. No I/O, no allocation.
#![forbid(unsafe_code)]

mod checksum;
mod flow;
mod header;

pub use checksum::{Checksum, checksum, is_checksum_valid};
pub use flow::flow_hash;
pub use header::{IpHeader, ParseError, Version, parse};

/// Ethertype of IPv4 (RFC 894), as it stands in front of a packet on a TUN device and in a v0 packet message.
pub const ETHERTYPE_IPV4: u16 = 0x0800;

/// Ethertype of IPv6 (RFC 2464, section 3).
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Protocol numbers (RFC 5237 registry) whose ports [`flow_hash`] reads.
pub mod protocol {
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// IPv6 fragment header (RFC 8200, section 4.5).
    pub const IPV6_FRAGMENT: u8 = 44;
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
    /// UDP-Lite (RFC 3828).
    pub const UDP_LITE: u8 = 136;
}
