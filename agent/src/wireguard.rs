//! Devices that are members through this node with a plain WireGuard client: who they are and what is agreed with them.
//!
//! Nothing of it is stored. Keys follow from the cluster secret and from the private key of `control_api.ssl`, so the node
//! and `tunmesh export wg` find the same ones. While secrets change, the keys of every accepted secret are in force.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use rustls_pki_types::PrivateKeyDer;
use tunmesh_mesh::Device;
use tunmesh_protocol::config::{Config, Networking, WireGuardPeer};
use tunmesh_protocol::{NodeId, Secret, mesh_ipv6};
use tunmesh_session::{PrivateKey, PublicKey};

use crate::keys::derive;
use crate::tls::{self, TlsError};

/// The keys that follow from one cluster secret: those of the node and of each of its devices.
pub(crate) struct Keys {
    /// What the node is towards its devices; another key than the one it has towards members.
    pub(crate) node: PrivateKey,
    /// By the name of the device.
    pub(crate) devices: BTreeMap<String, DeviceKeys>,
}

/// The keys of one device.
pub(crate) struct DeviceKeys {
    /// Absent if the device has made its own.
    pub(crate) private: Option<PrivateKey>,
    pub(crate) public: PublicKey,
    /// The secret it shares with its node beside the keys.
    pub(crate) preshared: [u8; 32],
}

impl Keys {
    /// The keys of every secret in force, newest secret first; none if the file names no device.
    pub(crate) fn of(config: &Config) -> Result<Vec<Self>, TlsError> {
        if config.networking.wireguard_peers.is_empty() {
            return Ok(Vec::new());
        }
        let tls_key = tls::private_key(&config.control_api.ssl)?;
        let auth = &config.clustering.auth;
        let secrets = std::iter::once(&auth.secret).chain(&auth.previous_secrets);
        Ok(secrets.map(|secret| Self::new(&config.networking, &tls_key, secret)).collect())
    }

    fn new(networking: &Networking, tls_key: &PrivateKeyDer<'_>, secret: &Secret) -> Self {
        let keys = |(name, peer): (&String, &WireGuardPeer)| (name.clone(), DeviceKeys::new(secret, name, peer));
        Self {
            node: node_key(tls_key.secret_der(), secret, networking.ipv4.node_address_cidr.address()),
            devices: networking.wireguard_peers.iter().map(keys).collect(),
        }
    }
}

impl DeviceKeys {
    fn new(secret: &Secret, name: &str, peer: &WireGuardPeer) -> Self {
        let preshared = derive(secret.as_bytes(), &[b"tunmesh wireguard psk ", name.as_bytes()]);
        match peer.public_key {
            Some(public) => Self { private: None, public: PublicKey::from_bytes(public), preshared },
            None => {
                let info: [&[u8]; 2] = [b"tunmesh wireguard device ", name.as_bytes()];
                let private = PrivateKey::from_bytes(derive(secret.as_bytes(), &info));
                Self { public: private.public_key(), private: Some(private), preshared }
            }
        }
    }
}

/// The devices of the file as the mesh core wants them.
pub(crate) fn devices(config: &Config) -> Vec<Device> {
    let networking = &config.networking;
    let device = |(name, peer): (&String, &WireGuardPeer)| Device {
        id: id(name, peer.address),
        addresses: addresses(networking, peer.address),
    };
    networking.wireguard_peers.iter().map(device).collect()
}

/// What a device is called among members; it follows from its name and address.
pub(crate) fn id(name: &str, address: Ipv4Addr) -> NodeId {
    let derived = derive(name.as_bytes(), &[b"tunmesh wireguard id ", &address.octets()]);
    let [id, ..] = *derived.as_chunks().0 else { unreachable!("32 bytes are two chunks of 16") };
    NodeId::from_random(id)
}

/// The addresses in the mesh of the device with this one, which comes first.
pub(crate) fn addresses(networking: &Networking, address: Ipv4Addr) -> Vec<IpAddr> {
    let ipv6 = networking.ipv6.map(|ipv6| mesh_ipv6(ipv6.network, address).into());
    std::iter::once(address.into()).chain(ipv6).collect()
}

/// Largest packet to and from a device, in bytes.
pub(crate) fn mtu(mesh: u16) -> u16 {
    mesh.min(MAX_MTU)
}

/// What the node with `address` is towards its devices: another key at every address, and in every mesh.
fn node_key(tls_key: &[u8], secret: &Secret, address: Ipv4Addr) -> PrivateKey {
    let mesh = derive(secret.as_bytes(), &[b"tunmesh wireguard mesh"]);
    PrivateKey::from_bytes(derive(tls_key, &[b"tunmesh wireguard ", &mesh, &address.octets()]))
}

/// What `wg-quick` gives a device on a link of 1,500 bytes: 80 less, for IPv6, UDP and the seal.
const MAX_MTU: u16 = 1420;

#[cfg(test)]
mod tests;
