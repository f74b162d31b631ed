//! IP packets as bytes: headers, checksums, and the super packets of a TUN device with segmentation offload.
//! No I/O; nothing is allocated per packet.
#![forbid(unsafe_code)]

mod checksum;
mod coalesce;
mod groups;
mod header;
mod icmp;
mod layout;
mod offload;
mod split;

pub use checksum::{Checksum, checksum, is_checksum_valid};
pub use coalesce::{Coalescer, Frame, Verdict};
pub use groups::{GroupReport, group_queries, group_reports};
pub use header::{IpHeader, ParseError, Version, parse};
pub use icmp::too_big;
pub use layout::{LayoutError, complete_checksum};
pub use offload::{ChecksumField, Offload, OffloadError, SegmentKind, Segmentation};
pub use split::{L4Checksum, Segments, SplitError, split};

/// Ethertype of IPv4 (RFC 894), as it stands in front of a packet on a TUN device and in a v0 packet message.
pub const ETHERTYPE_IPV4: u16 = 0x0800;

/// Ethertype of IPv6 (RFC 2464, section 3).
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Protocol numbers (RFC 5237 registry) this crate and its users tell apart.
pub mod protocol {
    /// IPv6 hop-by-hop options header (RFC 8200, section 4.3).
    pub const IPV6_HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: u8 = 1;
    /// IGMP (RFC 3376).
    pub const IGMP: u8 = 2;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// IPv6 fragment header (RFC 8200, section 4.5).
    pub const IPV6_FRAGMENT: u8 = 44;
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
}
