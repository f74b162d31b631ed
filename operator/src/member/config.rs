//! The agent's configuration file of one member.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde_json::{Map, Value, json};
use tunmesh_crds::names::member_secret;
use tunmesh_crds::{Allowance, LogLevel};

use crate::layout::{DEVICE, HELPER_SOCKET, HELPER_TOKEN};

/// What the file of one member says.
pub struct MemberConfig<'a> {
    /// Its mesh address, and the network it is in.
    pub ipv4: (Ipv4Addr, Ipv4Net),
    /// All IPv4 networks of the mesh.
    pub networks: &'a [Ipv4Net],
    /// Likewise, in a mesh with IPv6.
    pub ipv6: Option<(Ipv6Addr, Ipv6Net)>,
    /// Host at which others reach it; the agent's `--advertise-address` replaces it.
    pub host: &'a str,
    /// TCP and UDP port.
    pub port: u16,
    /// Largest packet, in bytes.
    pub mtu: u16,
    /// Least important lines of its log.
    pub log_level: LogLevel,
    /// Members that speak only the original protocol.
    pub v0: Allowance,
    /// Where it finds others.
    pub bootstrap: &'a [String],
    /// Members it finds others at without a name server.
    pub peers: &'a [String],
    /// The cluster secret.
    pub secret: &'a str,
    /// Secrets that count beside it.
    pub previous_secrets: Vec<&'a str>,
    /// Where the device comes from.
    pub device: Device,
    /// Whether nobody reaches it from outside: a NAT in front of it must not forget it.
    pub keepalive: bool,
}

/// Where the device of a member comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Device {
    /// The helper on the node.
    Helper,
    /// The agent makes it.
    Own,
}

impl MemberConfig<'_> {
    /// The file, YAML. It stands in one folder with certificate and keys.
    pub fn to_yaml(&self) -> String {
        let value = json!({"tun_mesh": {
            "config_version": 1.1,
            "clustering": {
                "bootstrap_groups": self.groups(),
                "control_api_advertise_url": format!("https://{}:{}", self.host, self.port),
                "auth": {
                    "secret": self.secret,
                    "previous_secrets": self.previous_secrets,
                    "address_certificates": true,
                    "refuse_original": self.v0 == Allowance::Deny,
                },
            },
            "control_api": {
                // Both families: a pod network can have either.
                "listen_address": "::",
                "listen_port": self.port,
                "ssl": {
                    "ca_file_path": member_secret::AUTHORITIES,
                    "cert_file_path": member_secret::CERTIFICATE,
                    "key_file_path": member_secret::PRIVATE_KEY,
                },
            },
            "logging": {"level": self.log_level},
            "monitoring": {"method": "prometheus"},
            "networking": self.networking(),
            "process": {"uid": USER, "timing": {"registrations": {"bootstrap_retry_interval": RETRY}}},
        }});
        // The value has texts, numbers, lists and maps: there is a YAML of it.
        serde_saphyr::to_string(&value).unwrap_or_default()
    }

    fn groups(&self) -> Value {
        let mut groups = Map::new();
        for (name, urls) in [("mesh", self.bootstrap), ("peers", self.peers)] {
            if !urls.is_empty() {
                groups.insert(name.to_owned(), json!({"bootstrap_node_urls": urls}));
            }
        }
        Value::Object(groups)
    }

    fn networking(&self) -> Value {
        let (address, network) = self.ipv4;
        let further = self.networks.iter().filter(|other| **other != network).map(ToString::to_string);
        let further: Vec<_> = further.collect();
        let mut networking = json!({
            "mtu": self.mtu,
            "tun_device_id": DEVICE,
            "ipv4": {
                "network_cidr": network.to_string(),
                "node_address_cidr": format!("{address}/{}", network.prefix_len()),
                "further_networks": further,
            },
            "ipv6": self.ipv6.map_or_else(
                || json!({"enabled": false}),
                |(address, network)| json!({"network_cidr": network.to_string(), "node_address": address.to_string()}),
            ),
        });
        if self.device == Device::Helper {
            networking["tun_handover"] = json!({"socket": HELPER_SOCKET, "token_file": HELPER_TOKEN});
        }
        if self.v0 == Allowance::Deny {
            networking["data_plane"]["paths"] = json!(["udp", "stream"]);
        }
        if self.keepalive {
            networking["data_plane"]["keepalive"] = json!(KEEPALIVE);
        }
        networking
    }
}

/// User of the agent: of no one else in the pod.
const USER: u32 = 65532;

/// Seconds between signs of life to each peer; some NATs forget UDP after 30.
const KEEPALIVE: u32 = 20;

/// Seconds after which members are looked for again: pods of one workload start together and find nobody at first.
const RETRY: &str = "0.5..1.5s";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tunmesh_protocol::config::{ParseOptions, TunSource, parse};

    use super::*;

    #[test]
    fn the_agent_takes_the_file() {
        let folder = std::env::temp_dir().join(format!("member-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for file in [member_secret::AUTHORITIES, member_secret::CERTIFICATE, member_secret::PRIVATE_KEY] {
            std::fs::write(folder.join(file), "").unwrap();
        }
        let secret = "c".repeat(44);
        let config = MemberConfig {
            ipv4: ("10.77.3.9".parse().unwrap(), "10.77.0.0/16".parse().unwrap()),
            ipv6: Some(("fd77::a4d:309".parse().unwrap(), "fd77::/64".parse().unwrap())),
            networks: &["10.77.0.0/16".parse().unwrap(), "10.99.0.0/16".parse().unwrap()],
            host: "192.0.2.1",
            port: 4567,
            mtu: 1380,
            log_level: LogLevel::Warn,
            v0: Allowance::Allow,
            bootstrap: &["https://tunmesh-m.default.svc:4567".to_owned()],
            peers: &["https://[2001:db8::9]:4567".to_owned()],
            secret: &secret,
            previous_secrets: Vec::new(),
            device: Device::Helper,
            keepalive: false,
        };
        let read = |config: &MemberConfig<'_>| {
            let mut options = ParseOptions { base_dir: Path::new(&folder), random: &mut || 0.5 };
            parse(&config.to_yaml(), &mut options)
                .unwrap_or_else(|problems| panic!("{problems}\n{}", config.to_yaml()))
                .config
        };

        let read_back = read(&config);
        let own =
            read(&MemberConfig { device: Device::Own, ipv6: None, v0: Allowance::Deny, keepalive: true, ..config });
        std::fs::remove_dir_all(&folder).unwrap();

        assert_eq!(read_back.networking.ipv4.node_address_cidr.to_string(), "10.77.3.9/16");
        assert_eq!(read_back.networking.ipv4.further_networks, ["10.99.0.0/16".parse().unwrap()]);
        assert_eq!(read_back.networking.mtu, 1380);
        assert_eq!(read_back.clustering.bootstrap_groups.len(), 2);
        assert!(
            matches!(read_back.networking.tun_source, TunSource::Helper { .. }),
            "{:?}",
            read_back.networking.tun_source
        );
        assert!(matches!(own.networking.tun_source, TunSource::Create));
        assert_eq!(own.networking.data_plane.keepalive.map(|time| time.as_secs()), Some(20));
    }
}
