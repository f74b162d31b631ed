//! Under `process`: timings and the process itself.

use super::{ANY_UINT, TIMING_OR_ZERO, group, key, ours, timing};
use crate::config::schema::{Key, Kind, Need, Scalar};

pub(super) const PROCESS: &[Key] = &[
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
