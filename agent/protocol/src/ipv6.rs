use std::net::{Ipv4Addr, Ipv6Addr};

use aws_lc_rs::digest::{SHA256, digest};
use ipnet::Ipv6Net;

use crate::Ipv4Cidr;

/// The unique local /64 (RFC 4193) of the mesh whose IPv4 network is `network`, the same on every node.
///
/// `fd`, the first 40 bits of SHA-256("tunmesh ula" || `network` as text, host bits cleared) as global id, subnet id 0.
pub fn mesh_ipv6_network(network: Ipv4Cidr) -> Ipv6Net {
    let text = format!("tunmesh ula{}/{}", network.network(), network.prefix_len());
    let hash = digest(&SHA256, text.as_bytes());
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&hash.as_ref()[..5]);
    Ipv6Net::new_assert(Ipv6Addr::from(octets), 64)
}

/// The IPv6 address of the node with the IPv4 address `address`, where its configuration gives no other: the prefix of
/// `network` (64 bits at most), zeros, `address` in the last 32 bits.
pub fn mesh_ipv6(network: Ipv6Net, address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(network.network().to_bits() | u128::from(address.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_network_have_one_unique_local_prefix() {
        // printf 'tunmesh ula10.77.0.0/24' | sha256sum
        let expected = "fd13:b23f:108b::/64".parse().unwrap();
        for text in ["10.77.0.0/24", "10.77.0.9/24", "10.77.0.0/255.255.255.0"] {
            assert_eq!(mesh_ipv6_network(text.parse().unwrap()), expected, "{text}");
        }
        assert_ne!(mesh_ipv6_network("10.77.0.0/25".parse().unwrap()), expected);
    }

    #[test]
    fn a_node_has_its_ipv4_address_in_the_last_bits() {
        for (network, address, expected) in [
            ("fd00:1:2:3::/64", "10.77.0.1", "fd00:1:2:3::a4d:1"),
            ("2001:db8::/32", "192.168.129.10", "2001:db8::c0a8:810a"),
            ("fd00::9/64", "0.0.0.1", "fd00::1"),
        ] {
            let found = mesh_ipv6(network.parse().unwrap(), address.parse().unwrap());
            assert_eq!(found.to_string(), expected, "{network} {address}");
        }
    }
}
