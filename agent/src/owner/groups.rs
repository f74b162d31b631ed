//! The multicast groups that applications on this host want, learned from the reports their kernel sends out of the device.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tunmesh_packet::{group_queries, group_reports};

/// As a router would keep them (RFC 3376, section 6): told the time.
pub(super) struct Groups {
    /// Groups and when each was last reported.
    wanted: BTreeMap<IpAddr, Instant>,
    query_at: Instant,
}

impl Groups {
    pub(super) fn new(now: Instant) -> Self {
        Self { wanted: BTreeMap::new(), query_at: now }
    }

    /// Takes a report; says whether what is wanted has changed.
    pub(super) fn handle_report(&mut self, packet: &[u8], now: Instant) -> bool {
        let mut changed = false;
        for report in group_reports(packet).into_iter().filter(|report| is_shared(report.group)) {
            if !report.wanted {
                changed |= self.wanted.remove(&report.group).is_some();
            } else if self.wanted.len() < MAX_GROUPS || self.wanted.contains_key(&report.group) {
                changed |= self.wanted.insert(report.group, now).is_none();
            }
        }
        changed
    }

    /// Forgets groups that nobody reports any more; returns the queries to write to the device if they are due, and whether
    /// what is wanted has changed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> (Option<[Vec<u8>; 2]>, bool) {
        if now < self.query_at {
            return (None, false);
        }
        self.query_at = now + QUERY_INTERVAL;
        let before = self.wanted.len();
        self.wanted.retain(|_, reported_at| now.saturating_duration_since(*reported_at) < FORGET_AFTER);
        (Some(group_queries()), self.wanted.len() != before)
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.query_at
    }

    pub(super) fn wanted(&self) -> BTreeSet<IpAddr> {
        self.wanted.keys().copied().collect()
    }
}

/// Whether packets of the group mean anything to other nodes: not those by which hosts and routers of one link keep it up.
fn is_shared(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => {
            ![Ipv4Addr::new(224, 0, 0, 1), Ipv4Addr::new(224, 0, 0, 2), Ipv4Addr::new(224, 0, 0, 22)].contains(&group)
        }
        // Nodes, routers, MLD reports, and the solicited nodes of neighbour discovery (RFC 4291, section 2.7.1).
        IpAddr::V6(group) => {
            let segments = group.segments();
            let is_link = segments[0] & 0xff0f == 0xff02 || segments[0] & 0xff0f == 0xff01;
            let is_low = segments[1..7].iter().all(|segment| *segment == 0) && matches!(segments[7], 1 | 2 | 0x16);
            let is_solicited =
                segments[1..5].iter().all(|segment| *segment == 0) && segments[5] == 1 && segments[6] >> 8 == 0xff;
            !(is_link && (is_low || is_solicited))
        }
    }
}

/// Groups a record holds.
const MAX_GROUPS: usize = 64;

/// RFC 3376, section 8.2.
const QUERY_INTERVAL: Duration = Duration::from_secs(125);

/// Twice the query interval and the longest wait for an answer (RFC 3376, section 8.4).
const FORGET_AFTER: Duration = Duration::from_secs(260);

#[cfg(test)]
mod tests {
    use super::*;

    fn report(kind: u8, group: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 1, 2, 0, 0, 10, 0, 0, 1, 224, 0, 0, 22, kind, 0, 0, 0];
        packet.extend(group);
        packet
    }

    #[test]
    fn a_group_is_wanted_from_its_report_until_it_is_left_or_forgotten() {
        let now = Instant::now();
        let mut groups = Groups::new(now);
        assert!(groups.handle_timeout(now).0.is_some(), "a host that had joined before is asked at once");

        assert!(groups.handle_report(&report(0x16, [239, 0, 0, 1]), now));
        assert!(groups.handle_report(&report(0x16, [239, 0, 0, 2]), now));
        assert!(!groups.handle_report(&report(0x16, [239, 0, 0, 2]), now));
        assert!(groups.handle_report(&report(0x17, [239, 0, 0, 1]), now));
        assert_eq!(groups.wanted(), BTreeSet::from([IpAddr::from([239, 0, 0, 2])]));

        assert!(groups.handle_timeout(now + FORGET_AFTER).1);
        assert_eq!(groups.wanted(), BTreeSet::new());
    }

    #[test]
    fn groups_of_one_link_stay_on_it() {
        for group in ["224.0.0.22", "ff02::1", "ff02::16", "ff02::1:ff00:10", "ff01::1"] {
            assert!(!is_shared(group.parse().unwrap()), "{group}");
        }
        for group in ["224.0.0.251", "239.1.1.1", "ff02::fb", "ff15::1", "ff05::1:3"] {
            assert!(is_shared(group.parse().unwrap()), "{group}");
        }
    }

    #[test]
    fn no_more_groups_are_kept_than_a_record_holds() {
        let (now, mut groups) = (Instant::now(), Groups::new(Instant::now()));
        for number in 0..100 {
            groups.handle_report(&report(0x16, [239, 0, 0, number]), now);
        }
        assert_eq!(groups.wanted().len(), MAX_GROUPS);
    }
}
