//! Under `clustering`: how nodes find and trust each other.

use super::{group, key, ours};
use crate::config::schema::{Key, Kind, Need, Scalar};

pub(super) const CLUSTERING: &[Key] = &[
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
    ours(
        "refuse_original",
        Kind::One(Scalar::Bool),
        Need::Default("false"),
        "Refuse nodes that speak the original protocol only",
        "Those that take neither datagrams nor streams.",
    ),
    key(
        "secret",
        Kind::One(Scalar::Secret),
        Need::Required,
        "Secret of the mesh, the same on every node",
        "Whoever knows it can join. 32 or more random characters, of this mesh alone: openssl rand -base64 32",
    ),
];
