use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Counts handshake messages by the second and tells when there are too many to calculate with each.
pub(super) struct Load {
    /// Start of the second that is counted.
    second: Instant,
    messages: u32,
    /// Whether the second before had too many.
    was_over: bool,
    /// Messages of this second by address, while there are too many.
    by_address: BTreeMap<IpAddr, u32>,
}

impl Load {
    pub(super) fn new(now: Instant) -> Self {
        Self { second: now, messages: 0, was_over: false, by_address: BTreeMap::new() }
    }

    /// Counts a message; returns whether only those who show a cookie are to be heeded.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.second);
        if passed >= SECOND {
            self.was_over = self.messages > MESSAGES && passed < 2 * SECOND;
            self.second = now;
            self.messages = 0;
            self.by_address.clear();
        }
        self.messages = self.messages.saturating_add(1);
        self.was_over || self.messages > MESSAGES
    }

    /// Counts a message of `source`, which showed a cookie; returns whether it is to be heeded.
    pub(super) fn admits(&mut self, source: SocketAddr) -> bool {
        let address = match source.ip() {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & SUBNET)),
        };
        if self.by_address.len() >= ADDRESSES && !self.by_address.contains_key(&address) {
            return false;
        }
        let messages = self.by_address.entry(address).or_default();
        *messages += 1;
        *messages <= MESSAGES_PER_ADDRESS
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Messages a second from which on cookies are asked for: each costs up to 0.25 ms, so that is an eighth of a core.
const MESSAGES: u32 = 500;

/// Messages a second from one address once there are too many; WireGuard's limit.
const MESSAGES_PER_ADDRESS: u32 = 20;

/// Addresses counted apart in one second; more are not heeded.
const ADDRESSES: usize = 4096;

/// An IPv6 network of 64 bits counts as one address: whoever has one address has all of them.
const SUBNET: u128 = !(u64::MAX as u128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_messages_in_a_second_count_for_that_second_and_the_next() {
        let start = Instant::now();
        let mut load = Load::new(start);

        assert!((0..MESSAGES).all(|_| !load.is_over(start)));
        assert!(load.is_over(start));
        assert!(load.is_over(start + SECOND));
        assert!(!load.is_over(start + 2 * SECOND));
        assert!((0..=MESSAGES).any(|_| load.is_over(start + 3 * SECOND)));
        assert!(!load.is_over(start + 10 * SECOND));
    }

    #[test]
    fn an_address_is_admitted_so_often_in_a_second_and_a_network_is_one_address() {
        let mut load = Load::new(Instant::now());
        let admitted = |load: &mut Load, source: &str| load.admits(source.parse().unwrap());

        for port in 0..MESSAGES_PER_ADDRESS {
            assert!(admitted(&mut load, &format!("[2001:db8::{port:x}]:{port}")));
        }
        assert!(!admitted(&mut load, "[2001:db8::ffff]:1"));
        assert!(admitted(&mut load, "[2001:db8:0:1::1]:1"));
        assert!(admitted(&mut load, "192.0.2.1:1"));
        for address in 0..ADDRESSES as u32 {
            load.admits(SocketAddr::from((address.to_be_bytes(), 1)));
        }
        assert!(!admitted(&mut load, "192.0.2.2:1"));
    }
}
