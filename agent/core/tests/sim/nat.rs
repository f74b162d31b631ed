//! An address translator in front of one host: one outer port for all it sends, open only to whom it sent lately
//! (RFC 4787: endpoint-independent mapping, address- and port-dependent filtering).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

pub(crate) struct Nat {
    outer: SocketAddr,
    sent_at: Option<Instant>,
    permitted: BTreeMap<SocketAddr, Instant>,
}

impl Nat {
    pub(crate) fn new(outer: IpAddr) -> Self {
        Self { outer: SocketAddr::new(outer, FIRST_PORT), sent_at: None, permitted: BTreeMap::new() }
    }

    /// The one address that it has outside.
    pub(crate) fn address(&self) -> IpAddr {
        self.outer.ip()
    }

    /// The source that a datagram to `to` has outside.
    pub(crate) fn translate(&mut self, to: SocketAddr, now: Instant) -> SocketAddr {
        if !is_open(self.sent_at, now) {
            self.renew();
        }
        self.sent_at = Some(now);
        self.permitted.insert(to, now);
        self.outer
    }

    /// Whether a datagram to `to` gets in.
    pub(crate) fn lets_in(&self, from: SocketAddr, to: SocketAddr, now: Instant) -> bool {
        to == self.outer && is_open(self.sent_at, now) && is_open(self.permitted.get(&from).copied(), now)
    }

    /// Forgets everything, as after a restart of the router.
    pub(crate) fn renew(&mut self) {
        self.sent_at = None;
        self.permitted.clear();
        self.outer.set_port(self.outer.port().checked_add(1).unwrap_or(FIRST_PORT));
    }
}

fn is_open(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) < TIMEOUT)
}

const FIRST_PORT: u16 = 20_000;

/// After which a mapping is gone; among the shortest of real ones.
const TIMEOUT: Duration = Duration::from_secs(30);
