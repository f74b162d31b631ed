//! Checks of the host's network around the mesh.

use ipnet::IpNet;

use super::facts::{Facts, HostRoute};
use super::{Found, Level};
use crate::settings;

/// TM0009.
pub(super) fn overlaps(facts: &Facts) -> Vec<Found> {
    let device = facts.device();
    let others = || facts.routes.iter().filter(|route| Some(route.device.as_str()) != device);
    mesh_networks(facts)
        .into_iter()
        .flat_map(|network| others().filter_map(move |route| overlap(network, route)))
        .collect()
}

/// Default routes, multicast and what is on every link are no overlap: the mesh is meant to be more specific.
fn overlap(network: IpNet, route: &HostRoute) -> Option<Found> {
    let HostRoute { device, destination } = route;
    if destination.prefix_len() == 0 {
        return None;
    }
    let found = format!("route {destination} through {device}, mesh network {network}");
    if network.contains(destination) {
        let cause = format!("packets to {destination} may leave through {device} instead of the mesh");
        let fix = "give the mesh a network that is used nowhere else, or remove the route";
        Some(Found::new(Level::Error, found, cause, fix))
    } else if destination.contains(&network) {
        let cause = format!("hosts of {network} behind {device} cannot be reached, as the mesh is more specific");
        let fix = "give the mesh a network that is used nowhere else, unless this is meant";
        Some(Found::new(Level::Warning, found, cause, fix))
    } else {
        None
    }
}

/// TM0014.
pub(super) fn uplinks(facts: &Facts) -> Vec<Found> {
    let uses_udp = facts.config.as_ref().is_ok_and(|config| config.networking.data_plane.paths.udp);
    let (true, Some(mtu)) = (uses_udp, facts.device_mtu()) else {
        return Vec::new();
    };
    let judge = |uplink: &super::facts::Uplink| {
        let overhead = SEAL + if uplink.target.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
        let needed = mtu + overhead;
        (needed > uplink.mtu).then(|| {
            Found::new(
                Level::Warning,
                format!(
                    "{} to {} takes {} bytes, a packet of {mtu} needs {needed}",
                    uplink.device, uplink.target, uplink.mtu
                ),
                "a datagram holds a packet, its seal and the headers of UDP and IP",
                format!(
                    "set networking/mtu to {} on all nodes, or raise the MTU of {}",
                    uplink.mtu.saturating_sub(overhead),
                    uplink.device
                ),
            )
        })
    };
    facts.uplinks.iter().filter_map(judge).collect()
}

/// What the mesh device is the way to.
fn mesh_networks(facts: &Facts) -> Vec<IpNet> {
    match &facts.config {
        Ok(config) => {
            let networking = &config.networking;
            let ipv4 = std::iter::once(networking.ipv4.network_cidr)
                .chain(networking.routes.iter().chain(&networking.ipv4.further_networks).copied());
            let ipv6 = networking.ipv6.map(|ipv6| IpNet::V6(ipv6.network));
            ipv4.map(|cidr| IpNet::V4(settings::net(cidr).trunc())).chain(ipv6).collect()
        }
        Err(_) => facts.status().and_then(|status| status.network.parse().ok()).into_iter().collect(),
    }
}

/// Bytes that a session adds to a packet.
const SEAL: u32 = 32;

/// Bytes of UDP and IP in front of a sealed packet.
const HEADERS_V4: u32 = 8 + 20;
const HEADERS_V6: u32 = 8 + 40;
