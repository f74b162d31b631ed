//! The keys of `networking` that depend on one another: the data plane, IPv6 and WireGuard peers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use super::reader::full;
use super::values::Values;
use super::{DataPlane, Finding, Ipv6, Paths, SuiteChoice, WireGuardPeer};
use crate::{mesh_ipv6, mesh_ipv6_network};

#[cfg(test)]
mod tests;

/// What no single key of these groups can tell.
pub(super) fn check(values: &Values, problems: &mut Vec<Finding>, warnings: &mut Vec<Finding>) {
    check_paths(values, problems);
    check_ipv6(values, problems, warnings);
    check_wireguard_peers(values, problems);
}

fn check_paths(values: &Values, problems: &mut Vec<Finding>) {
    let (path, line) = (full(PATHS), values.line(PATHS));
    if problems.iter().any(|problem| problem.path.starts_with(&path)) {
        return;
    }
    let words = values.choices(PATHS);
    // Without a line it is not in the file: there it has a default, and without that nothing was read.
    if words.is_empty() && line.is_some() {
        let fix = "give at least one of udp, stream, v0, or remove the key for all";
        problems.push(Finding::new(&path, line, "no packet could leave this node", fix).with_value("[]"));
    }
    let twice = words.iter().enumerate().find(|(at, word)| words[..*at].contains(word));
    if let Some((_, word)) = twice {
        problems.push(Finding::new(&path, line, "it stands there twice", "name each path once").with_value(word));
    }
}

fn check_ipv6(values: &Values, problems: &mut Vec<Finding>, warnings: &mut Vec<Finding>) {
    if values.bool(IPV6_ENABLED) == Some(true) && !has_room_for_ipv6(values) {
        let reason = format!("IPv6 needs {MIN_IPV6_MTU} (RFC 8200, section 5), so this node has none");
        let fix = format!("give {MIN_IPV6_MTU} or more, or {IPV6_ENABLED}: false");
        warnings.push(Finding::new(&full(MTU), values.line(MTU), reason, fix));
    }
    if let (Some(network), Some(address)) = (ipv6_network(values), ipv6_address(values))
        && !network.contains(&address)
    {
        let reason = format!("the address is outside the IPv6 network {network}");
        let fix = format!("give an address within it, correct {IPV6_NETWORK}, or remove the key");
        let finding = Finding::new(&full(IPV6_NODE), values.line(IPV6_NODE), reason, fix);
        problems.push(finding.with_value(&address.to_string()));
    }
}

fn check_wireguard_peers(values: &Values, problems: &mut Vec<Finding>) {
    let mut addresses = BTreeMap::new();
    let mut keys = BTreeMap::new();
    let names = values.names(PEERS).unwrap_or_default();
    if names.len() > MAX_PEERS {
        let reason = format!("this node can tell the others of at most {MAX_PEERS} devices");
        let line = names.iter().find_map(|name| values.line(&format!("{PEERS}/{name}/address")));
        let finding = Finding::new(&full(PEERS), line, reason, "have other nodes serve the rest");
        problems.push(finding.with_value(&format!("{} devices", names.len())));
    }
    for name in names {
        let path = format!("{PEERS}/{name}");
        let at_address = format!("{path}/address");
        let at_key = format!("{path}/public_key");
        if !is_name(&name) {
            let line = values.line(&at_address).or_else(|| values.line(PEERS));
            let fix = format!("use letters, digits, - and _, at most {MAX_NAME}");
            problems.push(Finding::new(&full(PEERS), line, "it is not a name of a peer", fix).with_value(&name));
            continue;
        }
        if let Some(IpAddr::V4(address)) = values.address(&at_address) {
            let taken = addresses.insert(address, name.clone()).map(|other| format!("the peer {other} has it too"));
            if let Some(reason) = taken.or_else(|| unfit(values, address)) {
                let fix = match values.cidr(NETWORK) {
                    Some(network) => format!("give an address within {network} that nobody has"),
                    None => "give an address within network_cidr that nobody has".into(),
                };
                let finding = Finding::new(&full(&at_address), values.line(&at_address), reason, fix);
                problems.push(finding.with_value(&address.to_string()));
            }
        }
        if let Some(key) = values.wireguard_key(&at_key)
            && let Some(other) = keys.insert(key, name)
        {
            let reason = format!("the peer {other} has it too");
            let fix = "make a pair of keys for each peer: wg genkey | tee private | wg pubkey";
            let finding = Finding::new(&full(&at_key), values.line(&at_key), reason, fix);
            problems.push(finding.with_value(&base64_simd::STANDARD.encode_to_string(key)));
        }
    }
}

/// Why a peer cannot have an address, whatever the other peers have.
fn unfit(values: &Values, address: Ipv4Addr) -> Option<String> {
    let (network, node) = (values.cidr(NETWORK)?, values.cidr(NODE)?);
    let ends =
        |net: crate::Ipv4Cidr| net.prefix_len() < 31 && (net.network() == address || net.broadcast() == Some(address));
    let own = values.cidrs("networking/ipv4/extra_addresses").into_iter().chain([node]);
    if !network.contains(address) {
        Some("the address is outside network_cidr".into())
    } else if own.map(crate::Ipv4Cidr::address).any(|own| own == address) {
        Some("it is an address of this node".into())
    } else if ends(network) || ends(node) {
        Some("it is a network or broadcast address".into())
    } else {
        None
    }
}

/// The keys of `data_plane`. Only for values without problems.
pub(super) fn data_plane(values: &Values) -> DataPlane {
    let port = |path: &str| values.integer(path).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    let words = values.choices(PATHS);
    DataPlane {
        advertise_endpoints: values.endpoints("networking/data_plane/advertise_endpoints"),
        keepalive: values
            .timing("networking/data_plane/keepalive")
            .map(|window| Duration::from_secs_f64(window.seconds))
            .filter(|keepalive| !keepalive.is_zero()),
        listen_port: port("networking/data_plane/listen_port")
            .or_else(|| port("control_api/listen_port"))
            .unwrap_or_default(),
        paths: Paths { stream: words.contains(&"stream"), udp: words.contains(&"udp"), v0: words.contains(&"v0") },
        suite: match values.choice("networking/data_plane/suite") {
            Some("aegis") => SuiteChoice::Aegis,
            Some("chachapoly") => SuiteChoice::ChaChaPoly,
            _ => SuiteChoice::Auto,
        },
        workers: values
            .integer("networking/data_plane/workers")
            .and_then(|workers| usize::try_from(workers).ok())
            .and_then(NonZeroUsize::new),
    }
}

/// The keys of `ipv6`, unless the mesh carries none. Only for values without problems.
pub(super) fn ipv6(values: &Values) -> Option<Ipv6> {
    let is_on = values.bool(IPV6_ENABLED) == Some(true) && has_room_for_ipv6(values);
    let network = ipv6_network(values).filter(|_| is_on)?;
    let address = ipv6_address(values).or_else(|| Some(mesh_ipv6(network, values.cidr(NODE)?.address())))?;
    Some(Ipv6 { address, network })
}

/// The peers of `wireguard_peers` by name. Only for values without problems.
pub(super) fn wireguard_peers(values: &Values) -> BTreeMap<String, WireGuardPeer> {
    let names = values.names(PEERS).unwrap_or_default();
    names
        .into_iter()
        .filter_map(|name| {
            let IpAddr::V4(address) = values.address(&format!("{PEERS}/{name}/address"))? else { return None };
            let public_key = values.wireguard_key(&format!("{PEERS}/{name}/public_key"));
            Some((name, WireGuardPeer { address, public_key }))
        })
        .collect()
}

fn ipv6_network(values: &Values) -> Option<ipnet::Ipv6Net> {
    values.ipv6_prefix(IPV6_NETWORK).or_else(|| values.cidr(NETWORK).map(mesh_ipv6_network))
}

fn ipv6_address(values: &Values) -> Option<Ipv6Addr> {
    match values.address(IPV6_NODE) {
        Some(IpAddr::V6(address)) => Some(address),
        Some(IpAddr::V4(_)) | None => None,
    }
}

fn has_room_for_ipv6(values: &Values) -> bool {
    values.integer(MTU).is_none_or(|mtu| mtu >= MIN_IPV6_MTU)
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

pub(super) const NETWORK: &str = "networking/ipv4/network_cidr";
pub(super) const NODE: &str = "networking/ipv4/node_address_cidr";
const IPV6_ENABLED: &str = "networking/ipv6/enabled";
const IPV6_NETWORK: &str = "networking/ipv6/network_cidr";
const IPV6_NODE: &str = "networking/ipv6/node_address";
const MTU: &str = "networking/mtu";
const PATHS: &str = "networking/data_plane/paths";
const PEERS: &str = "networking/wireguard_peers";

/// Devices at one node: their addresses take 24 bytes each in its record, which has 1,100 bytes for all it says.
const MAX_PEERS: usize = 16;

/// Characters of a peer's name at most.
const MAX_NAME: usize = 32;

/// Smallest MTU of a link that carries IPv6, in bytes (RFC 8200, section 5); Linux has no IPv6 on others.
const MIN_IPV6_MTU: i64 = 1280;
