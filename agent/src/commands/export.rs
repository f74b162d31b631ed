//! `tunmesh export`: what other software needs to be a member through a node.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use base64_simd::STANDARD;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use tunmesh_protocol::config::Config;

use crate::wireguard::{DeviceKeys, Keys, addresses, mtu};
use crate::{commands, settings};

/// Prints what a WireGuard client needs to be the device `name` of the node that runs from the file at `path`: a file for
/// `wg-quick`, or the same as a QR code for the camera of a phone. It holds secrets.
pub(super) fn wg(path: &Path, name: &str, as_qr: bool) -> anyhow::Result<()> {
    let config = settings::read(path)?.config;
    let keys = Keys::of(&config)?;
    let text = client_file(&config, &keys, name)
        .with_context(|| format!("nothing to export for {name:?} from {}", path.display()))?;
    if !as_qr {
        return Ok(commands::print(&text)?);
    }
    if let Some(public) = config.networking.wireguard_peers.get(name).and_then(|peer| peer.public_key) {
        bail!(
            "{PEERS}/{name}/public_key is {:?}: the private key is the device's own, so a QR code would lack it. \
             Fix: remove the key from the file, or leave out --qr and complete the text on the device",
            STANDARD.encode_to_string(public)
        );
    }
    let code = QrCode::with_error_correction_level(&text, EcLevel::L).context("the text does not fit a QR code")?;
    // Most terminals are dark; cameras want dark on light.
    let image = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    Ok(commands::print(&format!("{image}\n"))?)
}

/// The file of `wg-quick` for the device `name`.
fn client_file(config: &Config, keys: &[Keys], name: &str) -> anyhow::Result<String> {
    let networking = &config.networking;
    let Some(peer) = networking.wireguard_peers.get(name) else {
        let names: Vec<_> = networking.wireguard_peers.keys().map(String::as_str).collect();
        let known = if names.is_empty() { "nobody".into() } else { names.join(", ") };
        bail!("{PEERS} names {known}, not {name:?}. Fix: add `{name}: {{address: …}}`, or correct --name");
    };
    ensure!(
        networking.data_plane.paths.udp,
        "tun_mesh/networking/data_plane/paths is without udp: WireGuard is datagrams. Fix: add udp, or remove the key"
    );
    let endpoint = endpoint(config)?;
    let (keys, device) =
        keys.first().and_then(|keys| Some((keys, keys.devices.get(name)?))).context("no keys for this device")?;

    let addresses = addresses(networking, peer.address);
    let addresses = list(addresses.iter().map(|address| match address {
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) => format!("{address}/128"),
    }));
    let network = settings::net(networking.ipv4.network_cidr).trunc();
    let further = networking.ipv4.further_networks.iter().map(|network| settings::net(*network).trunc().to_string());
    let ipv6 = networking.ipv6.map(|ipv6| ipv6.network.to_string());
    let networks = list(std::iter::once(network.to_string()).chain(further).chain(ipv6));
    let mut out = String::new();
    let mut line = |line: &str| writeln!(out, "{line}").expect("a string takes everything");
    line(&format!("# {name} in the mesh {network}, through the node {}", networking.ipv4.node_address_cidr.address()));
    line("[Interface]");
    line(&private_key(device));
    line(&format!("Address = {addresses}"));
    line(&format!("MTU = {}", mtu(networking.mtu)));
    line("");
    line("[Peer]");
    line(&format!("PublicKey = {}", keys.node.public_key()));
    line(&format!("PresharedKey = {}", STANDARD.encode_to_string(device.preshared)));
    line(&format!("AllowedIPs = {networks}"));
    line(&format!("Endpoint = {endpoint}"));
    line(&format!("PersistentKeepalive = {KEEPALIVE_SECS}"));
    Ok(out)
}

fn private_key(device: &DeviceKeys) -> String {
    match &device.private {
        Some(key) => format!("PrivateKey = {}", STANDARD.encode_to_string(key.as_bytes())),
        None => format!("# PrivateKey = the one that belongs to {}, which only the device knows", device.public),
    }
}

/// Where the device finds the node, as a name if that is what the file gives.
fn endpoint(config: &Config) -> anyhow::Result<String> {
    let plane = &config.networking.data_plane;
    if let Some(endpoint) = plane.advertise_endpoints.first() {
        return Ok(endpoint.to_string());
    }
    ensure!(
        plane.listen_port != 0,
        "tun_mesh/networking/data_plane/listen_port is 0: a device must know the port beforehand. Fix: give a number"
    );
    let host = config.clustering.control_api_advertise_url.host();
    Ok(if host.contains(':') {
        format!("[{host}]:{}", plane.listen_port)
    } else {
        format!("{host}:{}", plane.listen_port)
    })
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

const PEERS: &str = "tun_mesh/networking/wireguard_peers";

/// Between two messages of a silent device: address translators forget it after 30 s, some of them.
const KEEPALIVE_SECS: u32 = 25;

#[cfg(test)]
mod tests;
