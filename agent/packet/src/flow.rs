use std::net::IpAddr;

use crate::header::IpHeader;
use crate::protocol;

/// A hash that is the same for all packets of one direction of one flow: addresses, protocol and, where all packets of the
/// flow carry them, ports.
///
/// `packet` is what `header` was parsed from. Fragments count by addresses and protocol only, because just the first one
/// has the ports; so does everything behind an IPv6 extension header. It is not keyed: use it to spread work, not to
/// index a table that strangers can fill.
pub fn flow_hash(header: &IpHeader, packet: &[u8]) -> u32 {
    let mut hash = OFFSET_BASIS;
    for address in [header.source(), header.destination()] {
        match address {
            IpAddr::V4(address) => hash = mix(hash, u64::from(address.to_bits())),
            IpAddr::V6(address) => {
                let [high, low] = halves(address.to_bits());
                hash = mix(mix(hash, high), low);
            }
        }
    }
    hash = mix(hash, u64::from(header.protocol()) << 32 | u64::from(ports(header, packet).unwrap_or(0)));
    let [high, low] = [hash >> 32, hash & 0xffff_ffff];
    u32::try_from(high ^ low).expect("both halves have 32 bits")
}

/// Source and destination port as one number.
fn ports(header: &IpHeader, packet: &[u8]) -> Option<u32> {
    let has_ports = matches!(header.protocol(), protocol::TCP | protocol::UDP | protocol::SCTP | protocol::UDP_LITE);
    if !has_ports || header.is_fragment() {
        return None;
    }
    let payload = header.trim(packet).get(header.header_len()..)?;
    payload.first_chunk().map(|ports| u32::from_be_bytes(*ports))
}

fn halves(bits: u128) -> [u64; 2] {
    let bytes = bits.to_be_bytes();
    let (halves, _) = bytes.as_chunks::<8>();
    [halves[0], halves[1]].map(u64::from_be_bytes)
}

/// One step of multiply and fold: enough to tell neighbouring addresses and ports apart in every bit.
fn mix(hash: u64, value: u64) -> u64 {
    let product = u128::from(hash ^ value) * u128::from(MULTIPLIER);
    let [high, low] = halves(product);
    high ^ low
}

/// Any odd start with its bits well mixed; these are the first digits of pi.
const OFFSET_BASIS: u64 = 0x243f_6a88_85a3_08d3;

/// 2^64 divided by the golden ratio, made odd: consecutive inputs land far apart (Knuth, volume 3, section 6.4).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::parse;

    /// A UDP packet from port `source` with 4 bytes of payload.
    fn udp(source: u16, fragment: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 32, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(source.to_be_bytes());
        packet.extend([0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        packet
    }

    fn hash(packet: &[u8]) -> u32 {
        flow_hash(&parse(packet).unwrap(), packet)
    }

    #[test]
    fn the_payload_does_not_matter_and_the_port_does() {
        let mut other = udp(1000, 0);
        *other.last_mut().unwrap() = 9;
        assert_eq!(hash(&udp(1000, 0)), hash(&other));
        assert_ne!(hash(&udp(1000, 0)), hash(&udp(1001, 0)));
    }

    #[test]
    fn all_fragments_of_a_packet_share_a_hash() {
        let first = udp(1000, 0x2000);
        let second = udp(7777, 0x0001);
        assert_eq!(hash(&first), hash(&second));
    }

    #[test]
    fn a_thousand_ports_spread_over_eight_workers() {
        let mut load = [0u32; 8];
        for port in 1000..2000 {
            load[usize::try_from(hash(&udp(port, 0)) % 8).unwrap()] += 1;
        }
        assert!(load.iter().all(|count| (75..=175).contains(count)), "{load:?}");
        let distinct: BTreeSet<u32> = (1000..2000).map(|port| hash(&udp(port, 0))).collect();
        assert!(distinct.len() > 990);
    }
}
