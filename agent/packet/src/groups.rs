//! Which multicast groups a host wants: its reports, and the question that makes it report (IGMP, MLD).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::checksum;
use crate::header::Version;
use crate::protocol;

/// What a host says of one multicast group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// The group.
    pub group: IpAddr,
    /// Whether it wants packets of the group, from whatever source.
    pub wanted: bool,
}

/// Reads what a host reports: IGMP versions 1 to 3 (RFC 1112, 2236, 3376) and MLD versions 1 and 2 (RFC 2710, 3810).
///
/// Sources are not told apart: who wants a group from some sources is given it from all. What is no report, or a broken one,
/// says nothing; of a report that is cut off, what comes before the cut counts.
pub fn group_reports(packet: &[u8]) -> Vec<GroupReport> {
    let Ok(header) = crate::parse(packet) else {
        return Vec::new();
    };
    let payload = &packet[header.header_len()..header.total_len()];
    match header.version() {
        Version::V4 if header.protocol() == protocol::IGMP => igmp(payload),
        Version::V6 if header.protocol() == protocol::IPV6_HOP_BY_HOP => {
            // Next header, and length in units of 8 bytes beyond the first.
            let (Some(&protocol::ICMPV6), Some(len)) = (payload.first(), payload.get(1)) else {
                return Vec::new();
            };
            payload.get(8 * (usize::from(*len) + 1)..).map(mld).unwrap_or_default()
        }
        Version::V4 | Version::V6 => Vec::new(),
    }
}

fn igmp(message: &[u8]) -> Vec<GroupReport> {
    let simple = |wanted| report(message.get(4..8).and_then(ipv4), wanted).into_iter().collect();
    match message.first() {
        Some(0x12 | 0x16) => simple(true),
        Some(0x17) => simple(false),
        Some(0x22) => records(message, 4, ipv4),
        _ => Vec::new(),
    }
}

fn mld(message: &[u8]) -> Vec<GroupReport> {
    let simple = |wanted| report(message.get(8..24).and_then(ipv6), wanted).into_iter().collect();
    match message.first() {
        Some(131) => simple(true),
        Some(132) => simple(false),
        Some(143) => records(message, 16, ipv6),
        _ => Vec::new(),
    }
}

/// Group records, of one form in both families but for the length of addresses: type, length of auxiliary data in words,
/// number of sources (2 bytes), group, sources, auxiliary data.
fn records(message: &[u8], address_len: usize, read: fn(&[u8]) -> Option<IpAddr>) -> Vec<GroupReport> {
    let count = message.get(6..8).map_or(0, |count| u16::from_be_bytes([count[0], count[1]]));
    let mut rest = message.get(8..).unwrap_or_default();
    let mut found = Vec::new();
    for _ in 0..count {
        let (Some([kind, auxiliary, high, low]), Some(group)) =
            (rest.first_chunk::<4>().copied(), rest.get(4..4 + address_len).and_then(read))
        else {
            break;
        };
        let sources = usize::from(u16::from_be_bytes([high, low]));
        let wanted = match kind {
            // Is or becomes "all but these"; further sources allowed.
            2 | 4 | 5 => Some(true),
            // Is or becomes "only these": nothing, if there are none.
            1 | 3 => Some(sources > 0),
            _ => None,
        };
        found.extend(wanted.and_then(|wanted| report(Some(group), wanted)));
        let len = 4 + address_len + sources * address_len + 4 * usize::from(auxiliary);
        rest = rest.get(len..).unwrap_or_default();
    }
    found
}

fn report(group: Option<IpAddr>, wanted: bool) -> Option<GroupReport> {
    group.filter(IpAddr::is_multicast).map(|group| GroupReport { group, wanted })
}

fn ipv4(bytes: &[u8]) -> Option<IpAddr> {
    bytes.first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets).into())
}

fn ipv6(bytes: &[u8]) -> Option<IpAddr> {
    bytes.first_chunk().map(|octets: &[u8; 16]| Ipv6Addr::from(*octets).into())
}

/// The general queries that make a host report all its groups within a second: IGMP version 3 (RFC 3376, section 4.1) and
/// MLD version 2 (RFC 3810, section 5.1).
pub fn group_queries() -> [Vec<u8>; 2] {
    // Header with the router alert option (RFC 2113), from nobody to all hosts.
    let mut igmp =
        vec![0x46, 0xc0, 0, 36, 0, 0, 0, 0, 1, protocol::IGMP, 0, 0, 0, 0, 0, 0, 224, 0, 0, 1, 0x94, 4, 0, 0];
    put_checksum(&mut igmp, 0, 10);
    // Query, answer within 10 tenths of a second, any group; robustness 2, interval 125 s, no sources.
    igmp.extend([0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]);
    put_checksum(&mut igmp, 24, 26);

    let (source, destination) =
        (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
    let mut mld = vec![0x60, 0, 0, 0, 0, 36, protocol::IPV6_HOP_BY_HOP, 1];
    mld.extend(source.octets());
    mld.extend(destination.octets());
    // Router alert for MLD (RFC 2711), padded to 8 bytes.
    mld.extend([protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0]);
    let mut query = vec![130, 0, 0, 0, 0x03, 0xe8, 0, 0];
    query.extend([0; 16]);
    query.extend([2, 125, 0, 0]);
    let mut covered = [source.octets(), destination.octets()].concat();
    covered.extend([0, 0, 0, 28, 0, 0, 0, protocol::ICMPV6]);
    covered.extend(&query);
    query[2..4].copy_from_slice(&checksum(&covered).to_be_bytes());
    mld.extend(query);
    [igmp, mld]
}

fn put_checksum(bytes: &mut [u8], from: usize, at: usize) {
    let sum = checksum(&bytes[from..]);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn igmp_packet(message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x46, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 10, 0, 0, 1, 224, 0, 0, 22, 0x94, 4, 0, 0];
        packet.extend(message);
        packet[3] = u8::try_from(packet.len()).unwrap();
        packet
    }

    fn mld_packet(message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 0, 1];
        packet.extend([0; 32]);
        packet[24] = 0xff;
        packet.extend([58, 0, 5, 2, 0, 0, 1, 0]);
        packet.extend(message);
        packet[5] = u8::try_from(packet.len() - 40).unwrap();
        packet
    }

    fn wanted(packet: &[u8]) -> Vec<(String, bool)> {
        group_reports(packet).into_iter().map(|report| (report.group.to_string(), report.wanted)).collect()
    }

    #[test]
    fn all_versions_of_igmp_are_understood() {
        let group = [239, 1, 2, 3];
        for (kind, expected) in [(0x12, true), (0x16, true), (0x17, false)] {
            let message = [&[kind, 0, 0, 0][..], &group].concat();
            assert_eq!(wanted(&igmp_packet(&message)), [("239.1.2.3".into(), expected)], "{kind:x}");
        }
        let mut report = vec![0x22, 0, 0, 0, 0, 0, 0, 4];
        report.extend([4, 0, 0, 0, 239, 0, 0, 1]);
        report.extend([3, 0, 0, 0, 239, 0, 0, 2]);
        report.extend([1, 1, 0, 2, 239, 0, 0, 3, 10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 0]);
        report.extend([6, 0, 0, 0, 239, 0, 0, 4]);
        let expected = [("239.0.0.1".into(), true), ("239.0.0.2".into(), false), ("239.0.0.3".into(), true)];
        assert_eq!(wanted(&igmp_packet(&report)), expected);
    }

    #[test]
    fn both_versions_of_mld_are_understood() {
        let group: [u8; 16] = "ff15::7".parse::<Ipv6Addr>().unwrap().octets();
        for (kind, expected) in [(131, true), (132, false)] {
            let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &group].concat();
            assert_eq!(wanted(&mld_packet(&message)), [("ff15::7".into(), expected)], "{kind}");
        }
        let report = [&[143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0][..], &group].concat();
        assert_eq!(wanted(&mld_packet(&report)), [("ff15::7".into(), true)]);
    }

    #[test]
    fn what_is_no_group_or_no_report_says_nothing() {
        assert_eq!(wanted(&igmp_packet(&[0x16, 0, 0, 0, 10, 0, 0, 1])), []);
        assert_eq!(wanted(&igmp_packet(&[0x11, 0, 0, 0, 239, 0, 0, 1])), []);
        assert_eq!(wanted(&igmp_packet(&[0x22, 0, 0, 0, 0, 0, 0, 9, 4, 0])), []);
        assert_eq!(wanted(&group_queries()[0]), []);
    }

    #[test]
    fn queries_are_packets_with_right_checksums() {
        let [igmp, mld] = group_queries();
        let header = crate::parse(&igmp).unwrap();
        assert_eq!((header.total_len(), header.protocol()), (igmp.len(), protocol::IGMP));
        assert_eq!((checksum(&igmp[..24]), checksum(&igmp[24..])), (0, 0));

        assert_eq!(crate::parse(&mld).unwrap().total_len(), mld.len());
        let mut covered = mld[8..40].to_vec();
        covered.extend([0, 0, 0, 28, 0, 0, 0, 58]);
        covered.extend(&mld[48..]);
        assert_eq!(checksum(&covered), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), v6: bool) {
            let packet = if v6 { mld_packet(&bytes) } else { bytes.truncate(200); igmp_packet(&bytes) };
            for report in group_reports(&packet) {
                prop_assert!(report.group.is_multicast());
            }
            group_reports(&bytes);
        }
    }
}
