//! Every key of the file: name, kind, default, range, documentation. The one place where a key is described.

mod clustering;
mod control_api;
mod networking;
mod process;

use clustering::CLUSTERING;
use control_api::CONTROL_API;
use networking::NETWORKING;
use process::PROCESS;

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

const PROMETHEUS: &[Key] = &[key(
    "base_labels",
    Kind::Labels,
    Need::Default("{}"),
    "Labels of every metric",
    "node_id is always one. Not dest_node_id, le, node_id, peer, reason, source_node_id, version: metrics have these.",
)];
