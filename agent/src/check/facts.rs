use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use tunmesh_protocol::ControlUrl;
use tunmesh_protocol::config::Config;

use crate::settings::ReadConfigError;
use crate::status::Status;

/// What the checks judge.
pub(crate) struct Facts {
    /// Unix time in seconds.
    pub(super) now: i64,
    pub(super) config: Result<Config, ReadConfigError>,
    /// Why the files of `control_api.ssl` cannot be used, if they cannot.
    pub(super) tls_error: Option<String>,
    /// Our certificate first, then those of the authority.
    pub(super) certificates: Vec<Certificate>,
    /// What the running node says of itself, or why none does.
    pub(super) node: Result<Status, String>,
    /// Members that packets were just sent to, by id, and whether any ping to them was answered meanwhile.
    pub(super) tried: BTreeMap<String, bool>,
    /// Bootstrap URLs other than our own.
    pub(super) bootstrap: Vec<Probe>,
    /// Routes of this host, those of our own device included.
    pub(super) routes: Vec<HostRoute>,
    pub(super) uplinks: Vec<Uplink>,
}

/// One certificate of the files the configuration names.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) path: PathBuf,
    pub(super) subject: String,
    /// First and last second in which it is valid, in Unix time.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// Whether it is valid for the host of `control_api_advertise_url`, by the rule that other nodes go by.
    pub(super) names_host: bool,
    /// IP addresses among its subject alternative names.
    pub(super) addresses: Vec<IpAddr>,
}

/// One TCP connection that was tried.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) url: ControlUrl,
    pub(super) error: Option<String>,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostRoute {
    pub(crate) device: String,
    pub(crate) destination: IpNet,
}

/// The way datagrams leave to some place.
#[derive(Clone, Debug)]
pub(super) struct Uplink {
    pub(super) target: IpAddr,
    pub(super) device: String,
    /// Largest IP packet on the way, as far as this host knows.
    pub(super) mtu: u32,
}

impl Facts {
    pub(super) fn status(&self) -> Option<&Status> {
        self.node.as_ref().ok()
    }

    /// Name of the mesh device, as far as known.
    pub(super) fn device(&self) -> Option<&str> {
        let configured = self.config.as_ref().ok().map(|config| config.networking.tun_device_id.as_str());
        self.status().map(|status| status.device.as_str()).or(configured)
    }

    /// Largest packet of the mesh device, in bytes.
    pub(super) fn device_mtu(&self) -> Option<u32> {
        let configured = self.config.as_ref().ok().map(|config| u32::from(config.networking.mtu));
        self.status().map(|status| status.mtu).or(configured)
    }
}
