use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::Ipv6Net;

use crate::{ControlUrl, Ipv4Cidr, Secret, Window};

/// The file, validated. Fields are named as its keys; docs/configuration.md says what each means.
#[expect(missing_docs, reason = "the keys are documented once, in the schema")]
#[derive(Clone, Debug)]
pub struct Config {
    pub clustering: Clustering,
    pub control_api: ControlApi,
    pub logging: Logging,
    pub monitoring: Monitoring,
    pub networking: Networking,
    pub process: Process,
}

macro_rules! groups {
    ($($(#[$more:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {$(
        #[doc = concat!("The keys of the group of that name in the file; see [`Config`].")]
        #[expect(missing_docs, reason = "the keys are documented once, in the schema")]
        #[derive(Clone, Debug)]
        $(#[$more])*
        pub struct $name { $(pub $field: $kind,)* }
    )*};
}

groups! {
    Auth {
        address_certificates: bool,
        previous_secrets: Vec<Secret>,
        pub_key_size: u32,
        refuse_original: bool,
        secret: Secret,
    }
    AuthTiming { early_validity_window: Window, session_max_age: Duration, validity_window: Window, }
    BootstrapGroup { bootstrap_node_urls: Vec<ControlUrl>, bootstrap_retries: Retries, }
    Clustering {
        auth: Auth,
        bootstrap_groups: BTreeMap<String, BootstrapGroup>,
        control_api_advertise_url: ControlUrl,
        reload_config_on_bootstrap: bool,
    }
    ControlApi { listen_address: IpAddr, listen_port: u16, max_batch_size: usize, ssl: Ssl, }
    #[derive(PartialEq, Eq)]
    DataPlane {
        advertise_endpoints: Vec<SocketAddr>,
        keepalive: Option<Duration>,
        listen_port: u16,
        paths: Paths,
        suite: SuiteChoice,
        workers: Option<NonZeroUsize>,
    }
    Ipv4 {
        enable_broadcast: bool,
        extra_addresses: Vec<Ipv4Cidr>,
        further_networks: Vec<Ipv4Cidr>,
        network_cidr: Ipv4Cidr,
        node_address_cidr: Ipv4Cidr,
    }
    #[derive(Copy, PartialEq, Eq)]
    Ipv6 { network: Ipv6Net, address: Ipv6Addr, }
    Logging { format: LogFormat, level: LogLevel, }
    Monitoring {
        enable_node_packet_metrics: bool,
        method: MonitoringMethod,
        prometheus: Prometheus,
    }
    Networking {
        clamp_mss: bool,
        data_plane: DataPlane,
        ipv4: Ipv4,
        ipv6: Option<Ipv6>,
        mtu: u16,
        routes: Vec<Ipv4Cidr>,
        tun_device_id: String,
        tun_source: TunSource,
        wireguard_peers: BTreeMap<String, WireGuardPeer>,
    }
    NetworkTiming { local: PacketTiming, mesh: PacketTiming, }
    PacketTiming { packet_expiration: Duration, }
    Process { gid: Option<u32>, timing: Timing, uid: u32, }
    Prometheus { base_labels: BTreeMap<String, String>, }
    RegistrationTimers { reregistration_interval: Duration, stale_threshold: Duration, }
    RegistrationTiming {
        bootstrap_retry_interval: Duration,
        groom_interval: Duration,
        local: RegistrationTimers,
        mesh: RegistrationTimers,
        startup_grace: Duration,
    }
    #[derive(PartialEq, Eq)]
    Ssl { ca_file_path: Option<PathBuf>, cert_file_path: PathBuf, key_file_path: PathBuf, verify_hostname: bool, }
    Timing {
        auth: AuthTiming,
        network: NetworkTiming,
        registrations: RegistrationTiming,
        request_timeout: Duration,
    }
    #[derive(PartialEq, Eq)]
    WireGuardPeer { address: Ipv4Addr, public_key: Option<[u8; 32]>, }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// The least important lines that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Detailed.
    Debug,
    /// Somebody must act.
    Error,
    /// What a user would notice.
    Info,
    /// Odd, but working.
    Warn,
}

/// Where metrics go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonitoringMethod {
    /// Nowhere; `/metrics` is no route.
    None,
    /// To whoever scrapes `/metrics`.
    Prometheus,
}

/// Ways of carrying packets between nodes that are in use; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paths {
    /// IP packets over the TLS port (RFC 9484).
    pub stream: bool,
    /// Sealed datagrams.
    pub udp: bool,
    /// Requests of the original protocol.
    pub v0: bool,
}

/// How often a bootstrap group is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// Until one of its URLs leads to a member.
    Forever,
    /// So many times after the first.
    Times(u32),
}

/// Cipher of sealed datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuiteChoice {
    /// AEGIS-128L (RFC 10032).
    Aegis,
    /// AEGIS-128L where both ends have AES instructions, else ChaCha20-Poly1305.
    Auto,
    /// ChaCha20-Poly1305.
    ChaChaPoly,
}

/// Where the TUN device comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunSource {
    /// The agent makes it.
    Create,
    /// An open descriptor of this number, inherited.
    Descriptor(i32),
    /// A process that hands it over.
    Helper {
        /// Its unix socket: a path, or an abstract name after `@`.
        socket: String,
        /// File of what proves who we are, if it wants a proof.
        token_file: Option<PathBuf>,
    },
}
