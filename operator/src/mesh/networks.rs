use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aws_lc_rs::digest::{SHA256, digest};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tunmesh_crds::MeshReason;

use crate::known::Occupied;

/// Why a mesh cannot have networks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The reason of the condition `Accepted`.
    pub reason: MeshReason,
    /// Which network, and what it overlaps.
    pub message: String,
}

/// The networks of a mesh: the `recorded` ones, those of the `spec` that are new, and one of its own choice for each family
/// that has none. A new network must overlap nothing that is `occupied`; a recorded one stays whatever came later.
///
/// # Errors
///
/// A new network of the spec overlaps something, or no private network is free.
pub fn choose(spec: &[IpNet], recorded: &[IpNet], uid: &str, occupied: &[Occupied]) -> Result<Vec<IpNet>, Refused> {
    let mut networks = recorded.to_vec();
    for network in spec {
        if networks.contains(network) {
            continue;
        }
        if let Some(other) = overlap(network, occupied) {
            let reason = if other.mesh { MeshReason::PoolOverlapsMesh } else { MeshReason::PoolOverlapsCluster };
            let message = format!("{network} of spec.addressPools overlaps {} ({})", other.network, other.by);
            return Err(Refused { reason, message });
        }
        networks.push(*network);
    }
    if !networks.iter().any(|network| matches!(network, IpNet::V4(_))) {
        let free = private(uid).find(|network| overlap(network, occupied).is_none());
        let message = "every private IPv4 /16 overlaps a range of the cluster";
        let refused = || Refused { reason: MeshReason::NoFreeNetwork, message: message.to_owned() };
        networks.insert(0, free.ok_or_else(refused)?);
    }
    if !networks.iter().any(|network| matches!(network, IpNet::V6(_))) {
        networks.push(unique_local(uid));
    }
    Ok(networks)
}

/// What `network` overlaps.
pub(super) fn overlap<'a>(network: &IpNet, occupied: &'a [Occupied]) -> Option<&'a Occupied> {
    occupied.iter().find(|other| network.contains(&other.network) || other.network.contains(network))
}

/// The private IPv4 /16 networks (RFC 1918), each once, from a place that the UID decides: meshes of several clusters that
/// are joined one day rarely meet.
fn private(uid: &str) -> impl Iterator<Item = IpNet> {
    let all: Vec<[u8; 2]> = (64..=255)
        .chain(0..64)
        .map(|second| [10, second])
        .chain((16..32).map(|second| [172, second]))
        .chain([[192, 168]])
        .collect();
    let start = usize::from(seed(uid)[0]) % all.len();
    let turned: Vec<_> = all.iter().cycle().skip(start).take(all.len()).copied().collect();
    turned.into_iter().filter_map(|[a, b]| Ipv4Net::new(Ipv4Addr::new(a, b, 0, 0), 16).ok().map(IpNet::V4))
}

/// A unique local IPv6 /64 (RFC 4193): the 40 bits of its global ID are of the digest of the UID, its subnet is 0.
fn unique_local(uid: &str) -> IpNet {
    let [_, a, b, c, d, e, ..] = seed(uid);
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&[0xfd, a, b, c, d, e]);
    let address = IpAddr::V6(Ipv6Addr::from(octets));
    Ipv6Net::new(Ipv6Addr::from(octets), 64).map_or_else(|_| IpNet::from(address), IpNet::V6)
}

fn seed(uid: &str) -> [u8; 8] {
    let digest = digest(&SHA256, uid.as_bytes());
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "6f1c2a9e-0d53-4c1a-9a55-0b1d0a3c77e1";

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn pods(network: &str) -> Occupied {
        Occupied { network: network.parse().unwrap(), by: "pods of node a".into(), mesh: false }
    }

    #[test]
    fn an_empty_spec_gets_a_private_and_a_unique_local_network_that_stay() {
        let chosen = choose(&[], &[], UID, &[pods("10.0.0.0/9"), pods("192.168.0.0/16")]).unwrap();

        let [IpNet::V4(ipv4), IpNet::V6(ipv6)] = chosen[..] else { panic!("{chosen:?}") };
        assert!(ipv4.network().is_private() && ipv4.prefix_len() == 16);
        assert_eq!((ipv6.network().segments()[0] >> 8, ipv6.prefix_len()), (0xfd, 64));
        assert_eq!(choose(&[], &chosen, UID, &[pods(&ipv4.to_string())]), Ok(chosen.clone()));
    }

    #[test]
    fn a_new_network_must_overlap_nothing() {
        let spec = nets(&["10.77.0.0/16", "10.78.0.0/16"]);
        let refused = choose(&spec, &spec[..1], UID, &[pods("10.77.0.0/24"), pods("10.78.4.0/24")]).unwrap_err();

        assert_eq!(refused.reason, MeshReason::PoolOverlapsCluster);
        assert_eq!(refused.message, "10.78.0.0/16 of spec.addressPools overlaps 10.78.4.0/24 (pods of node a)");
        let everything = choose(&[], &[], UID, &[pods("0.0.0.0/0")]).unwrap_err();
        assert_eq!(everything.reason, MeshReason::NoFreeNetwork);
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_free_and_what_is_recorded_stays(
            uid in "[0-9a-f]{8}",
            occupied in prop::collection::vec((0_u8..=255, 8_u8..=24), 0..40),
        ) {
            let occupied: Vec<_> =
                occupied.iter().map(|(second, prefix)| pods(&format!("10.{second}.0.0/{prefix}"))).collect();
            let chosen = choose(&[], &[], &uid, &occupied).unwrap();
            prop_assert!(chosen.iter().all(|network| overlap(network, &occupied).is_none()));
            let later = choose(&nets(&["198.18.0.0/15"]), &chosen, &uid, &occupied).unwrap();
            prop_assert_eq!(&later[..2], &chosen[..]);
        }
    }
}
