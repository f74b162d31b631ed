use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::networking::{self, NETWORK, NODE, data_plane, ipv6, wireguard_peers};
use super::reader::full;
use super::values::Values;
use super::{
    Auth, AuthTiming, BootstrapGroup, Clustering, Config, ControlApi, Finding, Ipv4, LogFormat, LogLevel, Logging,
    Monitoring, MonitoringMethod, NetworkTiming, Networking, PacketTiming, Process, Prometheus, RegistrationTimers,
    RegistrationTiming, Retries, Ssl, Timing, TunSource,
};
use crate::Window;

/// What no single key can tell: how values go together.
pub(super) fn check(values: &Values, problems: &mut Vec<Finding>, warnings: &mut Vec<Finding>) {
    let at = |path: &str| (full(path), values.line(path));
    if let (Some(network), Some(node)) = (values.cidr(NETWORK), values.cidr(NODE)) {
        let (path, line) = at(NODE);
        if !network.contains(node.address()) {
            let fix = format!("give an address within {network}, or correct network_cidr");
            problems.push(
                Finding::new(&path, line, "the address is outside network_cidr", fix).with_value(&node.to_string()),
            );
        } else if network.prefix_len() < 31
            && [Some(network.network()), network.broadcast()].contains(&Some(node.address()))
        {
            let reason = "it is the network or broadcast address, which some hosts do not answer at";
            warnings
                .push(Finding::new(&path, line, reason, "give an address between them").with_value(&node.to_string()));
        }
    }
    if let Some(name) = values.text(DEVICE)
        && (name.len() > MAX_DEVICE || name.contains(['/', ' ', ':', '%']) || name == "." || name == "..")
    {
        let (path, line) = at(DEVICE);
        let fix = format!("give at most {MAX_DEVICE} letters and digits, such as tun1");
        problems.push(Finding::new(&path, line, "the kernel takes no such device name", fix).with_value(&name));
    }
    if let (Some(_), Some(_)) = (values.integer(HANDOVER_FD), values.text(HANDOVER_SOCKET)) {
        let (path, line) = at(HANDOVER_SOCKET);
        problems.push(Finding::new(&path, line, "fd and socket are both given", "keep one of them"));
    }
    if let Some(token_file) = values.text(HANDOVER_TOKEN_FILE) {
        let (path, line) = at(HANDOVER_TOKEN_FILE);
        if values.text(HANDOVER_SOCKET).is_none() {
            problems.push(Finding::new(
                &path,
                line,
                "there is nobody to show the token to",
                "give socket, or remove it",
            ));
        } else if !token_file.starts_with('/') {
            let found = Finding::new(&path, line, "the path is not absolute", "give the whole path, from /");
            problems.push(found.with_value(&token_file));
        }
    }
    let (handover, line) = at(HANDOVER);
    let is_empty = values.integer(HANDOVER_FD).is_none() && values.text(HANDOVER_SOCKET).is_none();
    if line.is_some() && is_empty && !problems.iter().any(|problem| problem.path.starts_with(&handover)) {
        problems.push(Finding::new(&handover, line, "it says nothing", "give fd or socket, or remove the group"));
    }
    for group in ["local", "mesh"] {
        let timers = format!("{REGISTRATIONS}/{group}");
        let stale = format!("{timers}/stale_threshold");
        if seconds(values, &stale) < seconds(values, &format!("{timers}/reregistration_interval")) {
            let (path, line) = at(&stale);
            let reason = "it is below reregistration_interval, so members come and go";
            warnings.push(Finding::new(&path, line, reason, "give at least three times reregistration_interval"));
        }
    }
    let (ca, _) = at(CA);
    if values.bool(ADDRESS_CERTIFICATES) == Some(true)
        && values.file(CA).is_none()
        && !problems.iter().any(|problem| problem.path == ca)
    {
        let (path, line) = at(ADDRESS_CERTIFICATES);
        let reason = "no authority is given that signs the certificates of the nodes";
        let fix = format!("give {CA}, or remove the key");
        problems.push(Finding::new(&path, line, reason, fix).with_value("true"));
    }
    networking::check(values, problems, warnings);
    if values.secrets(PREVIOUS_SECRETS).len() > MAX_PREVIOUS_SECRETS {
        let (path, line) = at(PREVIOUS_SECRETS);
        let reason = format!("this node can tell the others of at most {MAX_PREVIOUS_SECRETS} beside the secret");
        problems.push(Finding::new(&path, line, reason, "remove those that no node signs with any more"));
    }
    if values.secret(SECRET).is_some_and(|secret| is_weak(secret.as_bytes())) {
        let (path, line) = at(SECRET);
        let reason = "it is easy to guess, and one captured token is enough to try guesses";
        warnings.push(Finding::new(&path, line, reason, "use the output of `openssl rand -base64 32`"));
    }
}

/// The file as a structure. Only for values without problems: every key is then there, or has no default.
pub(super) fn config(values: &Values) -> Config {
    let flag = |path: &str| values.bool(path).unwrap_or_default();
    let time = |path: &str| Duration::from_secs_f64(seconds(values, path).max(0.0));
    let file = |path: &str| values.file(path).unwrap_or_default();
    let timers = |group: &str| RegistrationTimers {
        reregistration_interval: time(&format!("{REGISTRATIONS}/{group}/reregistration_interval")),
        stale_threshold: time(&format!("{REGISTRATIONS}/{group}/stale_threshold")),
    };
    let packets = |group: &str| PacketTiming {
        packet_expiration: time(&format!("process/timing/network/{group}/packet_expiration")),
    };
    let window = |path: &str| values.timing(path).unwrap_or(Window { seconds: 0.0, integer: false });
    let unsigned = |path: &str| values.integer(path).and_then(|number| u32::try_from(number).ok());
    Config {
        clustering: Clustering {
            auth: Auth {
                address_certificates: flag(ADDRESS_CERTIFICATES),
                previous_secrets: values.secrets(PREVIOUS_SECRETS),
                refuse_original: flag("clustering/auth/refuse_original"),
                pub_key_size: unsigned("clustering/auth/pub_key_size").unwrap_or(2048),
                secret: values.secret(SECRET).expect("a required key"),
            },
            bootstrap_groups: values
                .names(GROUPS)
                .unwrap_or_default()
                .into_iter()
                .map(|name| {
                    let group = bootstrap_group(values, &name);
                    (name, group)
                })
                .collect(),
            control_api_advertise_url: values.url("clustering/control_api_advertise_url").expect("a required key"),
            reload_config_on_bootstrap: flag("clustering/reload_config_on_bootstrap"),
        },
        control_api: ControlApi {
            listen_address: values.address("control_api/listen_address").expect("a key with a default"),
            listen_port: unsigned("control_api/listen_port").and_then(|port| u16::try_from(port).ok()).unwrap_or(4567),
            max_batch_size: unsigned("control_api/max_batch_size").and_then(|n| usize::try_from(n).ok()).unwrap_or(64),
            ssl: Ssl {
                ca_file_path: values.file(CA),
                cert_file_path: file("control_api/ssl/cert_file_path"),
                key_file_path: file("control_api/ssl/key_file_path"),
                verify_hostname: flag("control_api/ssl/verify_hostname"),
            },
        },
        logging: Logging {
            format: if values.choice("logging/format") == Some("json") { LogFormat::Json } else { LogFormat::Text },
            level: match values.choice("logging/level") {
                Some("debug") => LogLevel::Debug,
                Some("error") => LogLevel::Error,
                Some("warn") => LogLevel::Warn,
                _ => LogLevel::Info,
            },
        },
        monitoring: Monitoring {
            enable_node_packet_metrics: flag("monitoring/enable_node_packet_metrics"),
            method: match values.choice("monitoring/method") {
                Some("prometheus") => MonitoringMethod::Prometheus,
                _ => MonitoringMethod::None,
            },
            prometheus: Prometheus {
                base_labels: values.labels("monitoring/prometheus/base_labels").unwrap_or_default(),
            },
        },
        networking: Networking {
            clamp_mss: flag("networking/clamp_mss"),
            data_plane: data_plane(values),
            ipv4: Ipv4 {
                enable_broadcast: flag("networking/ipv4/enable_broadcast"),
                extra_addresses: values.cidrs("networking/ipv4/extra_addresses"),
                further_networks: values.cidrs("networking/ipv4/further_networks"),
                network_cidr: values.cidr(NETWORK).expect("a required key"),
                node_address_cidr: values.cidr(NODE).expect("a required key"),
            },
            ipv6: ipv6(values),
            mtu: unsigned("networking/mtu").and_then(|mtu| u16::try_from(mtu).ok()).unwrap_or(1420),
            routes: values.cidrs("networking/routes"),
            tun_device_id: values.text(DEVICE).unwrap_or_default(),
            tun_source: match (values.integer(HANDOVER_FD), values.text(HANDOVER_SOCKET)) {
                (Some(fd), _) => TunSource::Descriptor(i32::try_from(fd).unwrap_or(i32::MAX)),
                (None, Some(socket)) => {
                    TunSource::Helper { socket, token_file: values.text(HANDOVER_TOKEN_FILE).map(PathBuf::from) }
                }
                (None, None) => TunSource::Create,
            },
            wireguard_peers: wireguard_peers(values),
        },
        process: Process {
            gid: unsigned("process/gid"),
            timing: Timing {
                auth: AuthTiming {
                    early_validity_window: window("process/timing/auth/early_validity_window"),
                    session_max_age: time("process/timing/auth/session_max_age"),
                    validity_window: window("process/timing/auth/validity_window"),
                },
                network: NetworkTiming { local: packets("local"), mesh: packets("mesh") },
                registrations: RegistrationTiming {
                    bootstrap_retry_interval: time(&format!("{REGISTRATIONS}/bootstrap_retry_interval")),
                    groom_interval: time(&format!("{REGISTRATIONS}/groom_interval")),
                    local: timers("local"),
                    mesh: timers("mesh"),
                    startup_grace: time(&format!("{REGISTRATIONS}/startup_grace")),
                },
                request_timeout: time("process/timing/request_timeout"),
            },
            uid: unsigned("process/uid").expect("a required key"),
        },
    }
}

fn bootstrap_group(values: &Values, name: &str) -> BootstrapGroup {
    BootstrapGroup {
        bootstrap_node_urls: values.urls(&format!("{GROUPS}/{name}/bootstrap_node_urls")),
        bootstrap_retries: match values.integer(&format!("{GROUPS}/{name}/bootstrap_retries")) {
            Some(times) if times >= 0 => Retries::Times(u32::try_from(times).unwrap_or(u32::MAX)),
            _ => Retries::Forever,
        },
    }
}

fn seconds(values: &Values, path: &str) -> f64 {
    values.timing(path).map_or(0.0, |window| window.seconds)
}

/// A secret of few different characters, or one short text over and over: far from the 128 bits it should have.
fn is_weak(secret: &[u8]) -> bool {
    let distinct = secret.iter().collect::<BTreeSet<_>>().len();
    let repeats = (1..=secret.len() / 2).any(|period| secret.iter().zip(&secret[period..]).all(|(a, b)| a == b));
    distinct < MIN_DISTINCT || repeats
}

const ADDRESS_CERTIFICATES: &str = "clustering/auth/address_certificates";
const CA: &str = "control_api/ssl/ca_file_path";
const DEVICE: &str = "networking/tun_device_id";
const GROUPS: &str = "clustering/bootstrap_groups";
const HANDOVER: &str = "networking/tun_handover";
const HANDOVER_FD: &str = "networking/tun_handover/fd";
const HANDOVER_SOCKET: &str = "networking/tun_handover/socket";
const HANDOVER_TOKEN_FILE: &str = "networking/tun_handover/token_file";
const PREVIOUS_SECRETS: &str = "clustering/auth/previous_secrets";
const REGISTRATIONS: &str = "process/timing/registrations";
const SECRET: &str = "clustering/auth/secret";

/// A record names as many, with the secret itself.
const MAX_PREVIOUS_SECRETS: usize = 7;

/// Bytes of a device name, one less than the kernel's IFNAMSIZ.
const MAX_DEVICE: usize = 15;

/// Different characters a random secret of 32 practically always exceeds.
const MIN_DISTINCT: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_few_or_repeated_characters_are_weak() {
        for weak in [
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "0123456789abcdef0123456789abcdef",
            "changeme-changeme-changeme-changeme",
        ] {
            assert!(is_weak(weak.as_bytes()), "{weak}");
        }
        for strong in ["bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha", "4m1CDTqVZx7rFqLhS0w3uWkQy8eJb2NpGd5oKcXtY6A="] {
            assert!(!is_weak(strong.as_bytes()), "{strong}");
        }
    }
}
