//! From the configuration file to what the mesh core and the device want to know.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use tunmesh_mesh::{BootstrapGroup, Ipv6Settings, Retries, Settings, Timers};
use tunmesh_protocol::config::{self, Config, Networking, ParseOptions, Parsed, Problems, Retries as FileRetries};
use tunmesh_protocol::{Ipv4Cidr, Member, NodeId};

use crate::wireguard;

/// Reads and validates the file; every problem at once.
pub(crate) fn read(path: &Path) -> Result<Parsed, ReadConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ReadConfigError::Read { path: path.into(), source })?;
    parse(path, &text)
}

/// Where a running node has its settings from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The file.
    pub(crate) path: PathBuf,
    /// What replaces the host of `clustering.control_api_advertise_url`: one file can then serve where the address is
    /// known only at the start.
    pub(crate) advertise_address: Option<IpAddr>,
}

impl Source {
    /// Reads and validates the file; every problem at once.
    pub(crate) fn read(&self) -> Result<Parsed, ReadConfigError> {
        let mut parsed = read(&self.path)?;
        if let Some(address) = self.advertise_address {
            let url = &mut parsed.config.clustering.control_api_advertise_url;
            *url = url.at(address);
        }
        Ok(parsed)
    }
}

/// Validates the text of the file at `path`.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Parsed, ReadConfigError> {
    let mut options = ParseOptions { base_dir: path.parent().unwrap_or_else(|| Path::new(".")), random: &mut random };
    config::parse(text, &mut options).map_err(|problems| ReadConfigError::Invalid { path: path.into(), problems })
}

/// All addresses of the mesh that lead to this node, its own IPv4 address first.
pub(crate) fn addresses(networking: &Networking) -> Vec<IpAddr> {
    let own = IpAddr::V4(networking.ipv4.node_address_cidr.address());
    let ipv6 = networking.ipv6.map(|ipv6| IpAddr::V6(ipv6.address));
    let devices =
        networking.wireguard_peers.values().flat_map(|device| wireguard::addresses(networking, device.address));
    std::iter::once(own).chain(ipv6).chain(devices).collect()
}

/// The mesh core's view of the file.
pub(crate) fn mesh(config: &Config, id: &NodeId) -> Settings {
    let timing = &config.process.timing;
    let timers = |registration: &config::RegistrationTimers, packet_expiration: Duration| Timers {
        reregistration_interval: registration.reregistration_interval,
        stale_threshold: registration.stale_threshold,
        packet_expiration,
    };
    Settings {
        local: Member {
            id: id.clone(),
            listen_url: config.clustering.control_api_advertise_url.clone(),
            network: config.networking.ipv4.network_cidr,
            address: config.networking.ipv4.node_address_cidr,
        },
        ipv6: config
            .networking
            .ipv6
            .map(|ipv6| Ipv6Settings { address: ipv6.address, prefix_len: ipv6.network.prefix_len() }),
        devices: wireguard::devices(config),
        further_networks: config.networking.ipv4.further_networks.clone(),
        hearsay_delay: if config.networking.data_plane.paths.udp { HEARSAY_DELAY } else { Duration::ZERO },
        enable_broadcast: config.networking.ipv4.enable_broadcast,
        groom_interval: timing.registrations.groom_interval,
        bootstrap_retry_interval: timing.registrations.bootstrap_retry_interval,
        startup_grace: timing.registrations.startup_grace,
        near: timers(&timing.registrations.local, timing.network.local.packet_expiration),
        far: timers(&timing.registrations.mesh, timing.network.mesh.packet_expiration),
        request_timeout: timing.request_timeout,
        session_max_age: timing.auth.session_max_age,
        session_validity: Duration::from_secs_f64(timing.auth.validity_window.seconds),
        bootstrap_groups: config
            .clustering
            .bootstrap_groups
            .iter()
            .map(|(name, group)| (name.clone(), bootstrap_group(group)))
            .collect(),
    }
}

/// What the core is told beside that, with a device that takes packets of at most `mtu` bytes.
pub(crate) fn core(config: &Config, mtu: u32) -> tunmesh_core::Settings {
    let (auth, plane) = (&config.clustering.auth, &config.networking.data_plane);
    tunmesh_core::Settings {
        secrets: std::iter::once(&auth.secret).chain(&auth.previous_secrets).cloned().collect(),
        keepalive: plane.keepalive,
        paths: plane.paths,
        mtu: usize::try_from(mtu).unwrap_or(usize::MAX),
    }
}

/// The file's addresses in the form the kernel wants.
pub(crate) fn net(cidr: Ipv4Cidr) -> Ipv4Net {
    Ipv4Net::new(cidr.address(), cidr.prefix_len()).expect("a cidr has a prefix of at most 32 bits")
}

fn bootstrap_group(group: &config::BootstrapGroup) -> BootstrapGroup {
    BootstrapGroup {
        urls: group.bootstrap_node_urls.clone(),
        retries: match group.bootstrap_retries {
            FileRetries::Forever => Retries::Forever,
            FileRetries::Times(times) => Retries::Times(times),
        },
    }
}

/// Time for the gossip to vouch for a member that somebody else knows, before it is called.
const HEARSAY_DELAY: Duration = Duration::from_millis(700);

/// A number from 0 to 1, for timing ranges such as `5..10s`.
fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness every range takes its lower end, which is valid.
    let _unavailable = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadConfigError {
    #[error("{} cannot be used:\n{problems}", path.display())]
    Invalid { path: PathBuf, problems: Problems },
    #[error("failed to read the configuration file {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
}
