use std::fmt;

/// Why a packet went no further. The name is the value of the metric label `reason`.
///
/// Those marked as ours the original does not count, since it answers such packets with an error, waits, or has no such data
/// path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// A broadcast, and broadcasts are not enabled.
    ConfigProhibited,
    /// Sending it failed.
    Exception,
    /// It waited longer than it is worth sending.
    Expired,
    /// Ours: a datagram that the peer of its session did not seal.
    Forged,
    /// Ours: not an IP packet of the family it was said to be, or a datagram longer than any of gossip and handshakes.
    Malformed,
    /// It came to a node it is not for.
    Misrouted,
    /// Its source belongs to no node, so nobody could answer.
    NoReturnRoute,
    /// Its destination belongs to no node.
    NoRoute,
    /// Ours: a datagram of a session that has ended or never was; a packet that waited for one which ended meanwhile.
    NoSession,
    /// Its destination is outside the network of the mesh.
    OutsideConfiguredNetwork,
    /// Ours: the bounded queue it had to pass was full.
    QueueFull,
    /// Ours: a datagram that came before, or too late to tell.
    Replayed,
    /// Its source belongs to another node than the one that sent it.
    RouteConflict,
    /// Ours: it does not fit the way to its destination, which its sender was told.
    TooBig,
    /// Ours: the kernel did not take the datagram.
    Unsent,
    /// Of a family or to a group that nobody here takes.
    Unsupported,
}

impl DropReason {
    /// All reasons, in the order of their names.
    pub const ALL: [Self; 16] = [
        Self::ConfigProhibited,
        Self::Exception,
        Self::Expired,
        Self::Forged,
        Self::Malformed,
        Self::Misrouted,
        Self::NoReturnRoute,
        Self::NoRoute,
        Self::NoSession,
        Self::OutsideConfiguredNetwork,
        Self::QueueFull,
        Self::Replayed,
        Self::RouteConflict,
        Self::TooBig,
        Self::Unsent,
        Self::Unsupported,
    ];

    /// The name in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigProhibited => "config_prohibited",
            Self::Exception => "exception",
            Self::Expired => "expired",
            Self::Forged => "forged",
            Self::Malformed => "malformed",
            Self::Misrouted => "misrouted",
            Self::NoReturnRoute => "no_return_route",
            Self::NoRoute => "no_route",
            Self::NoSession => "no_session",
            Self::OutsideConfiguredNetwork => "outside_configured_network",
            Self::QueueFull => "queue_full",
            Self::Replayed => "replayed",
            Self::RouteConflict => "route_conflict",
            Self::TooBig => "too_big",
            Self::Unsent => "unsent",
            Self::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_sorted() {
        assert!(DropReason::ALL.is_sorted_by(|a, b| a.as_str() < b.as_str()));
    }
}
