use std::net::{Ipv4Addr, Ipv6Addr};

use aws_lc_rs::digest::{SHA256, digest};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tunmesh_crds::AddressOwner;

/// The networks that members of one mesh get their addresses from.
///
/// A claim is of an IPv4 address; the IPv6 address of the member is that address in the last 32 bits of the IPv6 network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pools {
    ipv4: Vec<Ipv4Net>,
    ipv6: Option<Ipv6Net>,
}

impl Pools {
    /// The pools of `networks`, in the order of the status of a mesh. Of several IPv6 networks, which the API server does
    /// not take, the first counts; IPv4 networks of less than /30 have no address to give.
    pub fn new(networks: &[IpNet]) -> Self {
        let mut pools = Self { ipv4: Vec::new(), ipv6: None };
        for network in networks {
            match network {
                IpNet::V4(network) => pools.ipv4.push(network.trunc()),
                IpNet::V6(network) => pools.ipv6 = pools.ipv6.or_else(|| Some(network.trunc())),
            }
        }
        pools
    }

    /// How many members there can be.
    pub fn capacity(&self) -> u64 {
        self.ipv4.iter().map(|network| (1_u64 << (32 - network.prefix_len())).saturating_sub(2)).sum()
    }

    /// Whether a member can have `address`: the first of a network and its broadcast address nobody can.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.ipv4
            .iter()
            .any(|network| network.contains(&address) && address != network.network() && address != network.broadcast())
    }

    /// The network that `address` is in.
    pub fn network_of(&self, address: Ipv4Addr) -> Option<Ipv4Net> {
        self.ipv4.iter().copied().find(|network| network.contains(&address))
    }

    /// All IPv4 networks, in the order of the status of the mesh.
    pub fn ipv4(&self) -> &[Ipv4Net] {
        &self.ipv4
    }

    /// The IPv6 network; `None` in a mesh of IPv4 only.
    pub const fn ipv6(&self) -> Option<Ipv6Net> {
        self.ipv6
    }

    /// The IPv6 address of the member that has `address`; `None` in a mesh of IPv4 only.
    pub fn ipv6_of(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        let network = u128::from(self.ipv6?.network());
        Some(Ipv6Addr::from(network | u128::from(u32::from(address))))
    }

    /// All addresses that a member can have, in the order in which `owner` tries them: each once, one network after the
    /// other, in each from a place and in steps of its own. So few claims meet, and nobody looks for the first free one.
    pub fn candidates(&self, owner: &AddressOwner) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let seed = seed(owner);
        self.ipv4.clone().into_iter().flat_map(move |network| {
            // An odd step visits every number below a power of two (Hull and Dobell 1962, theorem 1, with multiplier 1).
            let count = 1_u64 << (32 - network.prefix_len());
            let (start, step) = (seed[0] % count, seed[1] | 1);
            let base = u64::from(u32::from(network.network()));
            (0..count)
                .map(move |index| start.wrapping_add(index.wrapping_mul(step)) % count)
                .filter(move |offset| *offset != 0 && *offset != count - 1)
                .filter_map(move |offset| u32::try_from(base + offset).ok().map(Ipv4Addr::from))
        })
    }
}

/// Two numbers that are the same for one owner at all times, whichever operator asks: of its UID and, in a `StatefulSet`,
/// its ordinal.
fn seed(owner: &AddressOwner) -> [u64; 2] {
    let ordinal = owner.ordinal.map(|ordinal| format!("/{ordinal}")).unwrap_or_default();
    let digest = digest(&SHA256, format!("{}{ordinal}", owner.uid).as_bytes());
    let (numbers, _) = digest.as_ref().as_chunks::<8>();
    [0, 1].map(|index| numbers.get(index).map_or(0, |bytes| u64::from_be_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use tunmesh_crds::OwnerKind;

    use super::*;

    fn owner(uid: &str) -> AddressOwner {
        let (namespace, name) = ("default".into(), "pod".into());
        AddressOwner { kind: OwnerKind::Pod, namespace, name, uid: uid.into(), ordinal: None }
    }

    fn pools(networks: &[&str]) -> Pools {
        Pools::new(&networks.iter().map(|network| network.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn the_first_and_last_address_of_a_network_are_nobodys() {
        let pools = pools(&["10.77.0.0/30", "fd77::/64"]);

        assert_eq!(pools.capacity(), 2);
        let contained = ["10.77.0.0", "10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4"];
        let contained = contained.map(|address| pools.contains(address.parse().unwrap()));
        assert_eq!(contained, [false, true, true, false, false]);
        assert_eq!(pools.ipv6_of("10.77.0.1".parse().unwrap()), Some("fd77::a4d:1".parse().unwrap()));
        assert_eq!(Pools::new(&[]).ipv6_of(Ipv4Addr::LOCALHOST), None);
    }

    #[test]
    fn the_pods_of_a_stateful_set_begin_elsewhere() {
        let pools = pools(&["10.77.0.0/16"]);
        let firsts: BTreeSet<_> = (0..100)
            .filter_map(|ordinal| pools.candidates(&AddressOwner { ordinal: Some(ordinal), ..owner("set") }).next())
            .collect();

        assert!(firsts.len() > 95, "{}", firsts.len());
    }

    #[test]
    fn the_last_of_ten_thousand_members_asks_about_few_addresses() {
        let pools = pools(&["10.77.0.0/16"]);
        let mut taken = BTreeSet::new();
        let mut asked = 0;
        for number in 0..10_000 {
            let owner = owner(&format!("00000000-0000-4000-8000-{number:012}"));
            asked += pools.candidates(&owner).take_while(|address| !taken.insert(*address)).count();
        }

        assert_eq!(taken.len(), 10_000);
        assert!(asked < 2_000, "{asked} addresses were taken by others");
    }

    proptest! {
        #[test]
        fn every_address_is_a_candidate_once_whoever_asks(prefixes in prop::collection::vec(20_u8..=30, 1..4), uid: u128) {
            let networks: Vec<_> =
                prefixes.iter().enumerate().map(|(index, prefix)| format!("10.{index}.0.0/{prefix}")).collect();
            let pools = pools(&networks.iter().map(String::as_str).collect::<Vec<_>>());

            let candidates: Vec<_> = pools.candidates(&owner(&uid.to_string())).collect();

            prop_assert_eq!(candidates.len() as u64, pools.capacity());
            prop_assert!(candidates.iter().all(|address| pools.contains(*address)));
            prop_assert_eq!(candidates.iter().collect::<BTreeSet<_>>().len(), candidates.len());
        }
    }
}
