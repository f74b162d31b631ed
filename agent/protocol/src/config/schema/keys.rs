//! Every key of the file: name, kind, default, range, documentation. The one place where a key is described.

use super::{Key, Kind, Need, Scalar};

const fn key(name: &'static str, kind: Kind, need: Need, short: &'static str, long: &'static str) -> Key {
    Key { name, kind, need, ours: false, short, long }
}

const fn ours(name: &'static str, kind: Kind, need: Need, short: &'static str, long: &'static str) -> Key {
    Key { name, kind, need, ours: true, short, long }
}

const fn group(name: &'static str, keys: &'static [Key], need: Need, short: &'static str, long: &'static str) -> Key {
    Key { name, kind: Kind::Group(keys), need, ours: false, short, long }
}

const fn our_group(name: &'static str, kind: Kind, need: Need, short: &'static str, long: &'static str) -> Key {
    Key { name, kind, need, ours: true, short, long }
}

const fn timing(name: &'static str, default: &'static str, short: &'static str, long: &'static str) -> Key {
    Key { name, kind: TIMING, need: Need::Default(default), ours: false, short, long }
}

const TIMING: Kind = Kind::One(Scalar::Timing { min: 0.5, max: 3600.0, or_zero: false });
const TIMING_OR_ZERO: Kind = Kind::One(Scalar::Timing { min: 0.5, max: 3600.0, or_zero: true });
const ANY_UINT: Kind = Kind::One(Scalar::Integer { min: 0, max: u32::MAX as i64 });

/// Everything under `tun_mesh`.
pub(in crate::config) const KEYS: &[Key] = &[
    key("config_version", Kind::One(Scalar::Version), Need::Required, "Version of this format", ""),
    group("clustering", CLUSTERING, Need::Required, "How nodes find and trust each other", ""),
    group("control_api", CONTROL_API, Need::Required, "The HTTPS server of this node", ""),
    group("logging", LOGGING, Need::Absent, "Log lines, on standard error", ""),
    group("monitoring", MONITORING, Need::Absent, "Metrics", ""),
    group("networking", NETWORKING, Need::Required, "The network inside the mesh", ""),
    group("process", PROCESS, Need::Required, "The process of the agent", ""),
];

const CLUSTERING: &[Key] = &[
    key(
        "bootstrap_groups",
        Kind::Groups(BOOTSTRAP_GROUP),
        Need::Required,
        "Where to find the first members",
        "Groups of URLs by a name of your choice, for the log. Of each group at least one URL should lead to a member.\nMembers found tell of all others. May be {} on a node that others bootstrap from.",
    ),
    key(
        "control_api_advertise_url",
        Kind::One(Scalar::Url),
        Need::Required,
        "URL at which all other nodes reach this node",
        "Must lead to this node alone, not to a load balancer.",
    ),
    key(
        "reload_config_on_bootstrap",
        Kind::One(Scalar::Bool),
        Need::Default("false"),
        "Read the file again before bootstrapping again",
        "This implementation also reads it whenever it changes.",
    ),
    group("auth", AUTH, Need::Required, "The cluster secret", ""),
];

const BOOTSTRAP_GROUP: &[Key] = &[
    key(
        "bootstrap_node_urls",
        Kind::List(Scalar::Url),
        Need::Required,
        "URLs to register at",
        "Advertise URLs of other nodes, or of a load balancer in front of some; our own is skipped. May be [] or empty.",
    ),
    key(
        "bootstrap_retries",
        Kind::One(Scalar::Integer { min: -1, max: i32::MAX as i64 }),
        Need::Default("-1"),
        "How often to try again while no member of the group is known",
        "-1 for ever, 0 not at all. Time between tries: process/timing/registrations/bootstrap_retry_interval.",
    ),
];

const AUTH: &[Key] = &[
    ours(
        "address_certificates",
        Kind::One(Scalar::Bool),
        Need::Default("false"),
        "Refuse members whose certificate does not name their address (IP SAN)",
        "Each node then needs a certificate of its own, with its mesh addresses as IP subject alternative names, signed by ca_file_path.",
    ),
    ours(
        "previous_secrets",
        Kind::List(Scalar::Secret),
        Need::Default("[]"),
        "Secrets that are accepted beside the secret, but not signed with",
        "For changing the secret without an interruption: first add the new one here everywhere, then make it the secret\neverywhere (the old one here), then remove the old one. A node that knows only one of the two must not meet one that\nsigns with the other.",
    ),
    key(
        "pub_key_size",
        Kind::One(Scalar::Integer { min: 2048, max: 8192 }),
        Need::Default("2048"),
        "Bits of this process's RSA key",
        "Rounded up to 2048, 3072, 4096 or 8192. Larger keys take long to make.",
    ),
    key(
        "secret",
        Kind::One(Scalar::Secret),
        Need::Required,
        "Secret of the mesh, the same on every node",
        "Whoever knows it can join. 32 or more random characters, of this mesh alone: openssl rand -base64 32",
    ),
];

const CONTROL_API: &[Key] = &[
    ours(
        "listen_address",
        Kind::One(Scalar::Address),
        Need::Default("0.0.0.0"),
        "Address to listen at",
        "`::` for IPv6 and IPv4.",
    ),
    key(
        "listen_port",
        Kind::One(Scalar::Integer { min: 0, max: 65535 }),
        Need::Default("4567"),
        "TCP port to listen at",
        "0 for any free one.",
    ),
    key(
        "max_batch_size",
        Kind::One(Scalar::Integer { min: 1, max: 1024 }),
        Need::Default("64"),
        "Most packets in one request",
        "",
    ),
    group("ssl", SSL, Need::Required, "TLS certificate of the server", "May be shared by all nodes."),
];

const SSL: &[Key] = &[
    key(
        "ca_file_path",
        Kind::One(Scalar::File),
        Need::Absent,
        "PEM file of the certificates other nodes are verified with",
        "Without it, the certificate file: all nodes then share one self-signed certificate.",
    ),
    key(
        "cert_file_path",
        Kind::One(Scalar::File),
        Need::Required,
        "PEM file of the certificate, with intermediate ones if any",
        "Relative paths start at the folder of this file. A changed file is used from the next connection on.",
    ),
    key("key_file_path", Kind::One(Scalar::File), Need::Required, "PEM file of its private key", ""),
    key(
        "verify_hostname",
        Kind::One(Scalar::Bool),
        Need::Default("false"),
        "Whether the certificate of another node must name the host in its URL",
        "By subject alternative name.",
    ),
];

const LOGGING: &[Key] = &[
    ours(
        "format",
        Kind::One(Scalar::Choice(&[("text", "For people"), ("json", "One object per line")])),
        Need::Default("text"),
        "Form of log lines",
        "",
    ),
    key(
        "level",
        Kind::One(Scalar::Choice(&[
            ("error", "Somebody must act"),
            ("warn", "Odd, but working"),
            ("info", "What a user would notice"),
            ("debug", "Every decision, with addresses"),
        ])),
        Need::Default("info"),
        "Least important lines that are written",
        "",
    ),
];

const MONITORING: &[Key] = &[
    key(
        "enable_node_packet_metrics",
        Kind::One(Scalar::Bool),
        Need::Default("false"),
        "Packet metrics per node, with latency",
        "",
    ),
    key(
        "method",
        Kind::One(Scalar::Choice(&[("none", "No metrics"), ("prometheus", "At /metrics of the control API")])),
        Need::Default("none"),
        "Where metrics go",
        "",
    ),
    key(
        "metric_ttl",
        TIMING,
        Need::Default("3600"),
        "How long the original shows a metric that no longer changes",
        "Accepted and without effect here: the metrics of a member go when it goes.",
    ),
    group("prometheus", PROMETHEUS, Need::Absent, "For method prometheus", ""),
];

const PROMETHEUS: &[Key] =
    &[key("base_labels", Kind::Labels, Need::Default("{}"), "Labels of every metric", "node_id is always one.")];

const NETWORKING: &[Key] = &[
    ours(
        "clamp_mss",
        Kind::One(Scalar::Bool),
        Need::Default("false"),
        "Fit the segment size of forwarded TCP connections to the MTU",
        "In an nft table `inet tunmesh` of the agent's own, which ends with it. Needs CAP_NET_ADMIN at start.",
    ),
    ours(
        "mtu",
        Kind::One(Scalar::Integer { min: 576, max: 9000 }),
        Need::Default("1420"),
        "Largest packet inside the mesh, in bytes",
        "The default leaves room for the outermost 80 bytes of a sealed datagram in 1,500. IPv6 needs 1280 or more.\nThe original takes packets up to about 1,980 bytes.",
    ),
    ours(
        "routes",
        Kind::List(Scalar::Cidr),
        Need::Default("[]"),
        "Further prefixes routed into the device",
        "For what other software does with them: the mesh itself drops what is outside network_cidr.",
    ),
    key(
        "tun_device_id",
        Kind::One(Scalar::Text),
        Need::Default("tun1"),
        "Name of the TUN device",
        "At most 15 characters.",
    ),
    our_group(
        "tun_handover",
        Kind::Group(TUN_HANDOVER),
        Need::Absent,
        "Take a device that another process made, instead of making one",
        "The agent then needs no right at all. Address, MTU and routes are the other process's business.",
    ),
    our_group("data_plane", Kind::Group(DATA_PLANE), Need::Absent, "How packets travel between nodes", ""),
    group("ipv4", IPV4, Need::Required, "IPv4 inside the mesh", ""),
    our_group("ipv6", Kind::Group(IPV6), Need::Absent, "IPv6 inside the mesh", ""),
    our_group(
        "wireguard_peers",
        Kind::Groups(WIREGUARD_PEER),
        Need::Default("{}"),
        "Devices that join through this node with a WireGuard client",
        "At most 16, each by a name of your choice: at most 32 letters, digits, - and _.",
    ),
];

const TUN_HANDOVER: &[Key] = &[
    ours(
        "fd",
        Kind::One(Scalar::Integer { min: 3, max: i32::MAX as i64 }),
        Need::Absent,
        "Number of an inherited descriptor",
        "Either this or socket.",
    ),
    ours(
        "socket",
        Kind::One(Scalar::Text),
        Need::Absent,
        "Unix socket of the process that hands the device over",
        "A path, or an abstract name after @.",
    ),
];

const DATA_PLANE: &[Key] = &[
    ours(
        "advertise_endpoints",
        Kind::List(Scalar::Endpoint),
        Need::Default("[]"),
        "UDP addresses at which other nodes reach this node",
        "By default the host of control_api_advertise_url with listen_port.",
    ),
    ours(
        "keepalive",
        TIMING_OR_ZERO,
        Need::Default("0"),
        "Send something to every peer this often, so that a NAT in front of this node keeps its mapping",
        "20 to 25 s behind a NAT; 0 for nothing.",
    ),
    ours(
        "listen_port",
        Kind::One(Scalar::Integer { min: 0, max: 65535 }),
        Need::Default("0"),
        "UDP port to listen at",
        "0 for the number of control_api/listen_port.",
    ),
    ours(
        "paths",
        Kind::List(Scalar::Choice(&[
            ("udp", "Sealed datagrams"),
            ("stream", "IP packets over the TLS port (RFC 9484), where UDP is blocked"),
            ("v0", "Requests of the original protocol"),
        ])),
        Need::Default("[udp, stream, v0]"),
        "Ways of carrying packets that this node uses and takes",
        "",
    ),
    ours(
        "suite",
        Kind::One(Scalar::Choice(&[
            ("auto", "AEGIS-128L where both ends have AES instructions, else ChaCha20-Poly1305"),
            ("aegis", "AEGIS-128L"),
            ("chachapoly", "ChaCha20-Poly1305"),
        ])),
        Need::Default("auto"),
        "Cipher of sealed datagrams",
        "",
    ),
    ours(
        "workers",
        Kind::One(Scalar::Integer { min: 0, max: 64 }),
        Need::Default("0"),
        "Threads that carry packets",
        "0 for one per processor, at most 4.",
    ),
];

const IPV4: &[Key] = &[
    key(
        "enable_broadcast",
        Kind::One(Scalar::Bool),
        Need::Default("false"),
        "Whether broadcasts are sent and taken",
        "255.255.255.255 and the broadcast address of the node's subnet go to that subnet, that of the network to all.",
    ),
    ours(
        "extra_addresses",
        Kind::List(Scalar::Cidr),
        Need::Default("[]"),
        "Further addresses of the device",
        "For local use: other nodes know node_address_cidr only.",
    ),
    key(
        "network_cidr",
        Kind::One(Scalar::Cidr),
        Need::Required,
        "The whole network of the mesh",
        "Routed into the device; the same on every node.",
    ),
    key(
        "node_address_cidr",
        Kind::One(Scalar::Cidr),
        Need::Required,
        "This node's address, with the prefix of its subnet",
        "Unique in the mesh and within network_cidr. Nodes in one subnet use the timing of `local`, others that of `mesh`.",
    ),
];

const IPV6: &[Key] = &[
    ours("enabled", Kind::One(Scalar::Bool), Need::Default("true"), "Whether the mesh carries IPv6", ""),
    ours(
        "network_cidr",
        Kind::One(Scalar::Ipv6Prefix),
        Need::Absent,
        "The whole IPv6 network of the mesh",
        "The same on every node. If absent, a unique local /64 (RFC 4193) made from network_cidr of ipv4, so the same everywhere.",
    ),
    ours(
        "node_address",
        Kind::One(Scalar::Ipv6),
        Need::Absent,
        "This node's IPv6 address",
        "Unique in the mesh and within network_cidr. If absent, that prefix with the node's IPv4 address in the last 32 bits.",
    ),
];

const WIREGUARD_PEER: &[Key] = &[
    ours(
        "address",
        Kind::One(Scalar::Ipv4),
        Need::Required,
        "IPv4 address of the device",
        "Unique in the mesh and within network_cidr of ipv4.",
    ),
    ours(
        "public_key",
        Kind::One(Scalar::WireGuardKey),
        Need::Absent,
        "Its public key, as `wg pubkey` prints it",
        "If absent, the key pair is made from the cluster secret, so that `tunmesh export wg` can print the private key.",
    ),
];

const PROCESS: &[Key] = &[
    ours(
        "gid",
        Kind::One(Scalar::Integer { min: 1, max: u32::MAX as i64 - 1 }),
        Need::Absent,
        "Group to change to",
        "The number of uid if absent.",
    ),
    key(
        "uid",
        Kind::One(Scalar::Integer { min: 1, max: u32::MAX as i64 - 1 }),
        Need::Required,
        "User to change to once the device is open",
        "Not 0: the agent does not run as root.",
    ),
    group(
        "ipc",
        IPC,
        Need::Absent,
        "Queues between the processes of the original",
        "Accepted and without effect here: the agent is one process.",
    ),
    group(
        "timing",
        TIMING_KEYS,
        Need::Absent,
        "Durations",
        "A number of seconds (1.5), a number with s, m, h or d (15m), or a range of which one value is chosen at start (5..10s).",
    ),
];

const IPC: &[Key] = &[group("group", IPC_GROUP, Need::Absent, "System V queues", "")];

const IPC_GROUP: &[Key] = &[
    key("key_range_max", ANY_UINT, Need::Default("0x8ffffff0"), "Largest queue key", ""),
    key("key_range_min", ANY_UINT, Need::Default("0x80000000"), "Smallest queue key", ""),
    key("max_init_attempts", ANY_UINT, Need::Default("3"), "Attempts to make the queues", ""),
];

const TIMING_KEYS: &[Key] = &[
    timing("request_timeout", "1.0", "Wait for a connection, and for an answer", ""),
    group("auth", AUTH_TIMING, Need::Absent, "Tokens and sessions", ""),
    group("network", NETWORK_TIMING, Need::Absent, "Packets", ""),
    group("registrations", REGISTRATION_TIMING, Need::Absent, "Registrations", ""),
    group(
        "tun_handler",
        TUN_HANDLER,
        Need::Absent,
        "The process of the original that reads the device",
        "Accepted and without effect here.",
    ),
];

const AUTH_TIMING: &[Key] = &[
    timing("early_validity_window", "5.0", "How long before its making a token is valid", "For clocks that differ."),
    timing(
        "session_max_age",
        "3600",
        "Age of a session at which it must have been replaced",
        "Replaced from validity_window before that on, refused from validity_window after that on.",
    ),
    timing("validity_window", "30.0", "How long a token is valid", "At least three times groom_interval."),
];

const NETWORK_TIMING: &[Key] = &[
    group("local", PACKET_TIMING, Need::Absent, "To nodes in the same subnet", ""),
    group("mesh", PACKET_TIMING, Need::Absent, "To all others", ""),
];

const PACKET_TIMING: &[Key] = &[key(
    "packet_expiration",
    Kind::One(Scalar::Timing { min: 0.01, max: 3600.0, or_zero: false }),
    Need::Default("0.1"),
    "Age at which a packet is no longer sent",
    "Below 0.2 s, after which TCP sends again.",
)];

const REGISTRATION_TIMING: &[Key] = &[
    timing(
        "bootstrap_retry_interval",
        "15",
        "Time between tries of a bootstrap group",
        "Up to a quarter less, other on each node, so that nodes started together do not go in step.",
    ),
    timing(
        "groom_interval",
        "5.0",
        "How often the original looks after its members",
        "Here the longest wait between tries at a member that does not answer.",
    ),
    key(
        "startup_grace",
        TIMING_OR_ZERO,
        Need::Default("0"),
        "How long after start /health is good without members",
        "So that the first nodes of a mesh come into service.",
    ),
    group("local", REGISTRATION_TIMERS_LOCAL, Need::Absent, "Towards nodes in the same subnet", ""),
    group("mesh", REGISTRATION_TIMERS_MESH, Need::Absent, "Towards all others", ""),
];

const REGISTRATION_TIMERS_LOCAL: &[Key] = &[
    timing("reregistration_interval", "5.0", "Time between two registrations at a member", ""),
    timing(
        "stale_threshold",
        "30.0",
        "Silence after which a member is removed",
        "At least three times reregistration_interval.",
    ),
];

const REGISTRATION_TIMERS_MESH: &[Key] = &[
    timing("reregistration_interval", "30.0", "Time between two registrations at a member", ""),
    timing(
        "stale_threshold",
        "120.0",
        "Silence after which a member is removed",
        "At least three times reregistration_interval.",
    ),
];

const TUN_HANDLER: &[Key] = &[
    timing("fault_delay", "1.0", "Pause after a fault", ""),
    timing("heartbeat_interval", "1.0", "Time between signs of life", ""),
];
