use std::net::IpAddr;

/// What a member says of itself beyond a registration, in its signed record or beside an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vouched {
    /// Further addresses that are reached through the member: its IPv6 address, and those of its `WireGuard` devices.
    pub addresses: Vec<IpAddr>,
    /// Multicast groups it wants packets of.
    pub groups: Vec<IpAddr>,
    /// When the member was started, in Unix milliseconds: of two that claim one place, the later start is the real one.
    pub started_at: u64,
}
