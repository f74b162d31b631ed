//! Under `networking`: the network inside the mesh.

use super::{TIMING_OR_ZERO, group, key, our_group, ours};
use crate::config::schema::{Key, Kind, Need, Scalar};

pub(super) const NETWORKING: &[Key] = &[
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
        "The agent then needs no right at all. Address, MTU and routes are the other process's business. Where that listens at a socket it is asked again when mtu or further_networks change.",
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
    ours(
        "token_file",
        Kind::One(Scalar::Text),
        Need::Absent,
        "File of what proves to that process who we are",
        "With socket only; an absolute path. Read anew at every attempt, as it may come late and is replaced. At most 8,192 bytes.",
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
            ("v0", "Requests of the original protocol; always used with a member that takes nothing else"),
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
    ours(
        "further_networks",
        Kind::List(Scalar::Cidr),
        Need::Default("[]"),
        "Further networks that members have addresses in",
        "For a mesh that outgrew network_cidr. Taken and sent like that one. Routed into the device from the next start on, or at once where tun_handover has a socket.",
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
