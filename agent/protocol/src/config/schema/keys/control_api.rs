//! Under `control_api`: the HTTPS server of the node.

use super::{group, key, ours};
use crate::config::schema::{Key, Kind, Need, Scalar};

pub(super) const CONTROL_API: &[Key] = &[
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
