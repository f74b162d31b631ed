use std::net::IpAddr;

use crate::checksum::checksum;
use crate::header::Version;
use crate::layout::{DESTINATION_OPTIONS, ROUTING};
use crate::protocol;

/// The answer to a packet that does not fit the way to its destination: "fragmentation needed" (RFC 792, code 4, with the
/// next-hop MTU of RFC 1191) or "packet too big" (RFC 4443, section 3.2).
///
/// It seems to come from the destination, as the address of the router that would send it is the reader's own. `mtu` is the
/// largest packet that fits, in bytes; IPv4 carries at most 65,535. `None` where no answer is allowed (RFC 1122, section
/// 3.2.2; RFC 4443, section 2.4(e)): to an ICMP error or redirect, to a fragment of IPv4 that is not the first, to a source
/// or destination that is not one host's, and to what is no packet. An IPv6 packet to a group might be answered, but not by
/// the group: no message may come from one (RFC 4443, section 2.2).
pub fn too_big(packet: &[u8], mtu: u32) -> Option<Vec<u8>> {
    let header = crate::parse(packet).ok()?;
    let packet = header.trim(packet);
    let payload = packet.get(header.header_len()..)?;
    if !is_one_host(header.source()) || !is_one_host(header.destination()) {
        return None;
    }
    match header.version() {
        Version::V4 => {
            let offset = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff;
            // Echo requests and replies are the only ones worth telling apart from errors here.
            let is_error = header.protocol() == protocol::ICMP && !matches!(payload.first(), Some(0 | 8));
            (offset == 0 && !is_error).then(|| too_big_v4(packet, header.header_len(), mtu))
        }
        Version::V6 => {
            let may_answer = match upper_layer(header.protocol(), payload)? {
                (protocol::ICMPV6, message) => {
                    message.first().is_some_and(|kind| kind & 0x80 != 0 && *kind != REDIRECT)
                }
                _ => true,
            };
            may_answer.then(|| too_big_v6(packet, mtu))
        }
    }
}

/// The protocol behind the extension headers of an IPv6 packet, and its message (RFC 8200, section 4; RFC 4302, section 2.2
/// for the length of an authentication header). The message is empty in a fragment that is not the first; `None` if a
/// header is cut off.
fn upper_layer(mut next: u8, mut rest: &[u8]) -> Option<(u8, &[u8])> {
    loop {
        let len = match next {
            protocol::IPV6_HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(*rest.get(1)?) + 1) * 8,
            protocol::IPV6_FRAGMENT if u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]) >> 3 != 0 => {
                return Some((*rest.first()?, &[]));
            }
            protocol::IPV6_FRAGMENT => 8,
            AUTHENTICATION => (usize::from(*rest.get(1)?) + 2) * 4,
            upper => return Some((upper, rest)),
        };
        next = *rest.first()?;
        rest = rest.get(len..)?;
    }
}

fn too_big_v4(packet: &[u8], header_len: usize, mtu: u32) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(header_len + QUOTED_V4)];
    let total = IPV4_LEN + ICMP_LEN + quoted.len();
    let mut out = vec![0; IPV4_LEN];
    out[0] = 0x45;
    out[2..4].copy_from_slice(&u16::try_from(total).unwrap_or(u16::MAX).to_be_bytes());
    out[8] = TTL;
    out[9] = protocol::ICMP;
    out[12..16].copy_from_slice(&packet[16..20]);
    out[16..20].copy_from_slice(&packet[12..16]);
    let sum = checksum(&out);
    out[10..12].copy_from_slice(&sum.to_be_bytes());

    let [high, low] = u16::try_from(mtu).unwrap_or(u16::MAX).to_be_bytes();
    out.extend([3, 4, 0, 0, 0, 0, high, low]);
    out.extend(quoted);
    let sum = checksum(&out[IPV4_LEN..]);
    out[IPV4_LEN + 2..IPV4_LEN + 4].copy_from_slice(&sum.to_be_bytes());
    out
}

fn too_big_v6(packet: &[u8], mtu: u32) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(IPV6_MIN_MTU - IPV6_LEN - ICMP_LEN)];
    let len = ICMP_LEN + quoted.len();
    let mut out = vec![0; IPV6_LEN];
    out[0] = 0x60;
    out[4..6].copy_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    out[6] = protocol::ICMPV6;
    out[7] = TTL;
    out[8..24].copy_from_slice(&packet[24..40]);
    out[24..40].copy_from_slice(&packet[8..24]);
    out.extend([2, 0, 0, 0]);
    out.extend(mtu.to_be_bytes());
    out.extend(quoted);

    // The pseudo-header of RFC 8200, section 8.1, in front of the message.
    let mut covered = out[8..40].to_vec();
    covered.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    covered.extend([0, 0, 0, protocol::ICMPV6]);
    covered.extend(&out[IPV6_LEN..]);
    let sum = checksum(&covered);
    out[IPV6_LEN + 2..IPV6_LEN + 4].copy_from_slice(&sum.to_be_bytes());
    out
}

/// Whether an address can be that of a single host. The broadcast addresses of subnets look as if.
fn is_one_host(address: IpAddr) -> bool {
    let is_reserved = match address {
        // 0.0.0.0/8 and 240.0.0.0/4 with the limited broadcast in it.
        IpAddr::V4(address) => matches!(address.octets()[0], 0 | 240..),
        IpAddr::V6(address) => address.is_unspecified(),
    };
    !is_reserved && !address.is_multicast() && !address.is_loopback()
}

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const ICMP_LEN: usize = 8;

/// Payload quoted from an IPv4 packet: the ports and sequence number of TCP are in it (RFC 792).
const QUOTED_V4: usize = 8;

/// Size that every IPv6 link takes (RFC 8200, section 5), the limit of an error message.
const IPV6_MIN_MTU: usize = 1280;

const TTL: u8 = 64;

/// Type of an ICMPv6 redirect (RFC 4861, section 4.5).
const REDIRECT: u8 = 137;

/// Authentication header (RFC 4302).
const AUTHENTICATION: u8 = 51;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Checksum;

    fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend(payload);
        let len = u16::try_from(packet.len()).unwrap();
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet
    }

    fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend(payload);
        packet[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        packet
    }

    #[test]
    fn the_sender_is_told_by_the_destination_how_much_fits() {
        let answer = too_big(&ipv4(6, &[7; 1400]), 1300).unwrap();

        let header = crate::parse(&answer).unwrap();
        assert_eq!(
            (header.source().to_string(), header.destination().to_string()),
            ("10.0.0.2".into(), "10.0.0.1".into())
        );
        assert_eq!((checksum(&answer[..20]), checksum(&answer[20..])), (0, 0));
        assert_eq!(answer[20..22], [3, 4]);
        assert_eq!(u16::from_be_bytes([answer[26], answer[27]]), 1300);
        assert_eq!(answer[28..], ipv4(6, &[7; 1400])[..28]);
    }

    #[test]
    fn ipv6_quotes_as_much_as_every_link_takes() {
        let packet = ipv6(6, &[7; 1400]);
        let answer = too_big(&packet, 1280).unwrap();

        assert_eq!(answer.len(), 1280);
        assert_eq!((answer[40], answer[41]), (2, 0));
        assert_eq!(answer[44..48], 1280_u32.to_be_bytes());
        assert_eq!(answer[48..], packet[..1280 - 48]);
        let sum = Checksum::default().with(&answer[8..40]).with(&[0, 0, 4, 216, 0, 0, 0, 58]).with(&answer[40..]);
        assert_eq!(sum.finish(), 0);
    }

    #[test]
    fn no_answer_comes_from_or_goes_to_what_is_no_single_host() {
        let with = |at: usize, address: &str| match address.parse().unwrap() {
            IpAddr::V4(address) => {
                let mut packet = ipv4(17, &[0; 64]);
                packet[12 + 4 * at..16 + 4 * at].copy_from_slice(&address.octets());
                packet
            }
            IpAddr::V6(address) => {
                let mut packet = ipv6(17, &[0; 64]);
                packet[8 + 16 * at..24 + 16 * at].copy_from_slice(&address.octets());
                packet
            }
        };
        for address in ["0.0.0.0", "255.255.255.255", "224.0.0.5", "127.0.0.1", "240.0.0.1", "::", "ff02::1", "::1"] {
            for at in [0, 1] {
                assert_eq!(too_big(&with(at, address), 1280), None, "{address} at {at}");
            }
        }
        for address in ["10.9.9.9", "fd00::9"] {
            assert!(too_big(&with(0, address), 1280).is_some() && too_big(&with(1, address), 1280).is_some());
        }
    }

    #[test]
    fn icmp_errors_behind_extension_headers_are_not_answered() {
        let options = [protocol::ICMPV6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let fragment = |offset: u8| [protocol::ICMPV6, 0, 0, offset, 0, 0, 0, 1];
        let authentication = [protocol::ICMPV6, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        let both = [&[protocol::IPV6_FRAGMENT, 0, 0, 0, 0, 0, 0, 0][..], &fragment(1)].concat();
        let behind: [(u8, &[u8]); 6] = [
            (protocol::IPV6_HOP_BY_HOP, &options),
            (DESTINATION_OPTIONS, &options),
            (ROUTING, &options),
            (protocol::IPV6_FRAGMENT, &fragment(1)),
            (AUTHENTICATION, &authentication),
            (protocol::IPV6_HOP_BY_HOP, &both),
        ];
        for (first, headers) in behind {
            let answered = |kind: u8| too_big(&ipv6(first, &[headers, &[kind, 0, 0, 0]].concat()), 1280).is_some();
            assert_eq!([1, 2, 127, 137, 128, 135].map(answered), [false, false, false, false, true, true], "{first}");
        }
        // Of a later fragment nobody knows what it is of; of another protocol it does not matter.
        let later = |next| ipv6(protocol::IPV6_FRAGMENT, &[next, 0, 0, 8, 0, 0, 0, 1, 128, 0, 0, 0]);
        assert_eq!(too_big(&later(protocol::ICMPV6), 1280), None);
        assert!(too_big(&later(protocol::UDP), 1280).is_some());
        assert_eq!(too_big(&ipv6(protocol::IPV6_HOP_BY_HOP, &options[..8]), 1280), None, "cut off");
    }

    #[test]
    fn padding_is_not_quoted() {
        for packet in [ipv4(17, &[7; 4]), ipv6(17, &[7; 4])] {
            let padded = [&packet[..], &[9; 30]].concat();
            assert_eq!(too_big(&padded, 1280), too_big(&packet, 1280));
        }
    }

    #[test]
    fn errors_later_fragments_and_packets_to_many_are_not_answered() {
        let mut fragment = ipv4(17, &[0; 64]);
        fragment[7] = 1;
        let mut broadcast = ipv4(17, &[0; 64]);
        broadcast[16..20].fill(255);
        let mut multicast = ipv4(17, &[0; 64]);
        multicast[16] = 224;
        for packet in [fragment, broadcast, multicast, ipv4(1, &[3, 4, 0, 0]), ipv6(58, &[1, 0, 0, 0]), vec![0x45; 3]] {
            assert_eq!(too_big(&packet, 1280), None, "{packet:?}");
        }
        assert!(too_big(&ipv4(1, &[8, 0, 0, 0]), 1280).is_some());
        assert!(too_big(&ipv6(58, &[128, 0, 0, 0]), 1280).is_some());
    }
}
