use std::net::IpAddr;

use crate::checksum::checksum;
use crate::header::Version;
use crate::protocol;

/// The answer to a packet that does not fit the way to its destination: "fragmentation needed" (RFC 792, code 4, with the
/// next-hop MTU of RFC 1191) or "packet too big" (RFC 4443, section 3.2).
///
/// It seems to come from the destination, as the address of the router that would send it is the reader's own. `mtu` is the
/// largest packet that fits, in bytes; IPv4 carries at most 65,535. `None` where no answer is allowed: to a fragment that is
/// not the first, to an ICMP error, to a multicast or broadcast packet, and to what is no packet.
pub fn too_big(packet: &[u8], mtu: u32) -> Option<Vec<u8>> {
    let header = crate::parse(packet).ok()?;
    let payload = packet.get(header.header_len()..header.total_len())?;
    if header.destination().is_multicast() || is_limited_broadcast(header.destination()) {
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
            let is_error = header.protocol() == protocol::ICMPV6 && payload.first().is_none_or(|kind| kind & 0x80 == 0);
            (!is_error).then(|| too_big_v6(packet, mtu))
        }
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

fn is_limited_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const ICMP_LEN: usize = 8;

/// Payload quoted from an IPv4 packet: the ports and sequence number of TCP are in it (RFC 792).
const QUOTED_V4: usize = 8;

/// Size that every IPv6 link takes (RFC 8200, section 5), the limit of an error message.
const IPV6_MIN_MTU: usize = 1280;

const TTL: u8 = 64;

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
