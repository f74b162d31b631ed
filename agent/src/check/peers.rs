//! Checks of the paths to single peers.

use super::facts::Facts;
use super::{Found, Level};
use crate::status::PeerStatus;

/// TM0006.
pub(super) fn blocked(facts: &Facts) -> Vec<Found> {
    let port = facts.status().and_then(|status| status.datagrams.as_ref()).map_or(0, |udp| udp.port);
    let judge = |peer: &PeerStatus| {
        let (level, instead) = match peer.path.as_str() {
            "stream" | "v0" => (Level::Warning, format!("packets take {:?} instead", peer.path)),
            "none" if facts.tried.contains_key(&peer.node_id) => (Level::Error, "and there is no other way".to_owned()),
            "udp" if facts.tried.get(&peer.node_id) == Some(&false) => {
                (Level::Error, "and packets go there all the same".to_owned())
            }
            _ => return None,
        };
        let endpoint = peer.endpoint.as_deref().unwrap_or("an unknown endpoint");
        Some(Found::new(
            level,
            format!("{}: no datagram comes back from {endpoint}, {instead}", name(peer)),
            "a firewall or NAT between the nodes drops UDP, or the peer advertises an endpoint that does not lead to it",
            format!(
                "let UDP through between port {port} here and {endpoint}, or set networking/data_plane/advertise_endpoints of the peer"
            ),
        ))
    };
    peers(facts).filter(|peer| peer.takes_datagrams).filter_map(judge).collect()
}

/// TM0007.
pub(super) fn small_path(facts: &Facts) -> Vec<Found> {
    let Some(mtu) = facts.device_mtu().and_then(|mtu| usize::try_from(mtu).ok()) else {
        return Vec::new();
    };
    peers(facts)
        .filter(|peer| peer.path == "udp" && peer.largest_packet < mtu)
        .map(|peer| {
            let largest = peer.largest_packet;
            Found::new(
                Level::Warning,
                format!("{}: packets of up to {largest} bytes pass, the device sends up to {mtu}", name(peer)),
                "a link on the way has a smaller MTU; senders are told so, those that ignore it lose packets",
                format!("set networking/mtu to {largest} on all nodes, or set networking/clamp_mss, or mend the link"),
            )
        })
        .collect()
}

/// TM0012.
pub(super) fn versions(facts: &Facts) -> Vec<Found> {
    let Some(status) = facts.status() else {
        return Vec::new();
    };
    let judge = |peer: &PeerStatus| match &peer.version {
        Some(version) if *version == status.version => None,
        Some(version) => Some(Found::new(
            Level::Note,
            format!("{} runs {version}, this node {}", name(peer), status.version),
            "an upgrade is under way, or it was forgotten there",
            "run the same version everywhere",
        )),
        None if peer.pipelining => None,
        None => Some(Found::new(
            Level::Note,
            format!("{} speaks the v0 protocol only", name(peer)),
            "it is a node of the original; packets to it take requests, which cost several times as much",
            "run tunmesh there too, where that matters",
        )),
    };
    status.peers.iter().filter_map(judge).collect()
}

fn peers(facts: &Facts) -> impl Iterator<Item = &PeerStatus> {
    facts.status().into_iter().flat_map(|status| &status.peers)
}

fn name(peer: &PeerStatus) -> String {
    format!("peer {} ({})", peer.address, peer.node_id)
}
