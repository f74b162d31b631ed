use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use tunmesh_sys::netns::Netns;

/// The network namespace that each pod has its device in: a token that came into another pod is worth nothing there while the
/// pod it was made for has its device.
///
/// A pod whose sandbox was made anew has another namespace, and the old one may stay mounted for long. Two things tell that
/// from a token in the wrong hands: the addresses that the API server knows the pod by are in the new namespace, which no
/// container brings about without `NET_ADMIN`, and in the old one no more, which nobody outside of it does.
#[derive(Default)]
pub(super) struct Homes(Mutex<HashMap<String, Home>>);

#[derive(Clone)]
struct Home {
    id: u64,
    netns: Weak<Netns>,
}

impl Homes {
    /// Forgets the pods of namespaces that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(u64) -> bool) {
        self.lock().retain(|_, home| is_there(home.id));
    }

    /// Whether the pod of that UID, with these addresses outside the mesh, may have its device in the namespace, which is its
    /// home then. Blocks for a moment if it has another.
    pub(super) fn settle(&self, uid: &str, addresses: &[IpAddr], id: u64, netns: &Arc<Netns>) -> bool {
        let here = Home { id, netns: Arc::downgrade(netns) };
        let home = self.lock().entry(uid.to_owned()).or_insert_with(|| here.clone()).clone();
        if home.id == id {
            return true;
        }
        let (Some(new), Some(old)) =
            (present(netns), home.netns.upgrade().map_or(Some(Vec::new()), |old| present(&old)))
        else {
            return false;
        };
        let moves = has_moved(addresses, &old, &new);
        if moves {
            tracing::info!(uid, from = home.id, to = id, "the sandbox of a pod was made anew");
            self.lock().insert(uid.to_owned(), here);
        }
        moves
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Home>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what makes a namespace that of a pod went from one to another.
fn has_moved(addresses: &[IpAddr], old: &[IpAddr], new: &[IpAddr]) -> bool {
    let is_in = |present: &[IpAddr]| addresses.iter().any(|address| present.contains(address));
    is_in(new) && !is_in(old)
}

/// All addresses in a namespace; `None` if they were not told.
fn present(netns: &Netns) -> Option<Vec<IpAddr>> {
    let address = |found: SockaddrStorage| {
        let ipv4 = found.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        ipv4.or_else(|| found.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let list = || Some(getifaddrs().ok()?.filter_map(|interface| interface.address.and_then(address)).collect());
    netns.run(list).ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_moved_when_its_address_has() {
        let [own, other, ipv6] = ["192.0.2.7", "192.0.2.8", "2001:db8::7"].map(|text| text.parse::<IpAddr>().unwrap());
        let cases: [(&str, [&[IpAddr]; 3], bool); 7] = [
            ("its sandbox was made anew", [&[own], &[], &[own]], true),
            ("with another address, the API server knows", [&[own], &[other], &[own]], true),
            ("with two addresses", [&[own, ipv6], &[other], &[other, ipv6]], true),
            ("a token in another pod", [&[own], &[own], &[other]], false),
            ("one that took the address", [&[own], &[own], &[own, other]], false),
            ("the old address is known still", [&[other], &[], &[own]], false),
            ("none is known", [&[], &[], &[own]], false),
        ];
        for (what, [addresses, old, new], expected) in cases {
            assert_eq!(has_moved(addresses, old, new), expected, "{what}");
        }
    }
}
