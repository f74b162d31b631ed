//! Checks of what nodes think of each other: clocks, addresses, secrets, membership.

use super::facts::Facts;
use super::{Found, Level};
use crate::incidents::RefusalKind;
use crate::status::RefusalStatus;

/// TM0005.
pub(super) fn clocks(facts: &Facts) -> Vec<Found> {
    let Some(status) = facts.status() else {
        return Vec::new();
    };
    let fix = "have every node keep its clock by NTP (chrony, systemd-timesyncd)";
    // How far a token of the future, and one of the past, may be away.
    let windows = facts.config.as_ref().ok().map(|config| &config.process.timing.auth);
    let refused =
        windows.map_or(TOLERANCE_SECS, |auth| auth.early_validity_window.seconds.min(auth.validity_window.seconds));
    let limit = refused.clamp(RESOLUTION_SECS, TOLERANCE_SECS);
    let offsets = status.peers.iter().filter_map(|peer| {
        let offset = peer.clock_offset_secs?;
        let difference = offset.unsigned_abs() as f64;
        if difference <= limit {
            return None;
        }
        let direction = if offset > 0 { "ahead of" } else { "behind" };
        let found = format!("the clock of peer {} ({}) is {difference} s {direction} ours", peer.address, peer.node_id);
        let (level, cause) = if difference > refused {
            (Level::Error, "tokens are valid for a short time only, so the nodes refuse each other's requests")
        } else {
            (Level::Warning, "tokens still are within their validity windows, but not by much")
        };
        Some(Found::new(level, found, cause, fix))
    });
    let refusals = recent(status.refusals.iter()).filter_map(|refusal| {
        let what = match refusal.kind {
            RefusalKind::GossipClock => "gossip",
            RefusalKind::RequestClock => "requests",
            RefusalKind::GossipSecret
            | RefusalKind::Handshake
            | RefusalKind::HandshakeCookie
            | RefusalKind::RequestSecret
            | RefusalKind::WeAreDenied => return None,
        };
        let found = format!("{} times {what} refused for their time, last: {}", refusal.count, refusal.subject);
        Some(Found::new(Level::Error, found, "the clock of that node or of this one is wrong", fix))
    });
    offsets.chain(refusals).collect()
}

/// TM0008.
pub(super) fn contested(facts: &Facts) -> Vec<Found> {
    let contests = facts.status().into_iter().flat_map(|status| &status.contests);
    contests
        .filter(|contest| contest.last_secs <= RECENT_SECS)
        .map(|contest| {
            let found =
                format!("{} is held by {} and claimed by {}", contest.address, contest.holder, contest.claimant);
            let cause = "two files give the same address, or a node was started elsewhere before the old one was gone";
            Found::new(
                Level::Error,
                found,
                cause,
                "give each node an address of its own (networking/ipv4/node_address_cidr)",
            )
        })
        .collect()
}

/// TM0011.
pub(super) fn secrets(facts: &Facts) -> Vec<Found> {
    let refusals = facts.status().into_iter().flat_map(|status| &status.refusals);
    recent(refusals)
        .filter_map(|refusal| {
            let (found, cause) = match refusal.kind {
                RefusalKind::GossipSecret => {
                    ("gossip is sealed with another secret", "that node does not know clustering/auth/secret of this one")
                }
                RefusalKind::RequestSecret => {
                    ("requests to us are signed with another secret", "a node does not know clustering/auth/secret of this one")
                }
                RefusalKind::WeAreDenied => (
                    "we are refused (401 or 403)",
                    "that node does not know clustering/auth/secret of this one, or the clocks differ (TM0005), or it does not \
                     take our certificate as a proof of our address (TM0003)",
                ),
                RefusalKind::GossipClock
                | RefusalKind::Handshake
                | RefusalKind::HandshakeCookie
                | RefusalKind::RequestClock => return None,
            };
            let found = format!("{found}, {} times, last: {}", refusal.count, refusal.subject);
            let fix = "give all nodes the same clustering/auth/secret; to change it, see previous_secrets";
            Some(Found::new(Level::Error, found, cause, fix))
        })
        .collect()
}

/// TM0013.
pub(super) fn members(facts: &Facts) -> Vec<Found> {
    let is_alone = facts.status().is_some_and(|status| status.peers.is_empty());
    let all_fail = !facts.bootstrap.is_empty() && facts.bootstrap.iter().all(|probe| probe.error.is_some());
    if !(is_alone || facts.status().is_none() && all_fail) {
        return Vec::new();
    }
    if facts.bootstrap.is_empty() {
        let found = "clustering/bootstrap_groups names no other node, and none has registered here";
        let cause = "a node finds others through its bootstrap URLs, or is found through theirs";
        return vec![Found::new(
            Level::Warning,
            found,
            cause,
            "name a node that is always there, unless this is that node",
        )];
    }
    let probes = facts.bootstrap.iter().map(|probe| match &probe.error {
        Some(error) => Found::new(
            Level::Error,
            format!("{}: {error}", probe.url),
            "nothing can be reached there over TCP",
            "correct the URL, start the node there, or let TCP through to it",
        ),
        None => Found::new(
            Level::Error,
            format!("{} can be reached, but its node is no member of ours", probe.url),
            "one of the two refuses the other: for its certificate, its secret (TM0011) or its clock (TM0005)",
            "look for \"failed to register\" in the logs of this node",
        ),
    });
    probes.collect()
}

fn recent<'a>(refusals: impl Iterator<Item = &'a RefusalStatus>) -> impl Iterator<Item = &'a RefusalStatus> {
    refusals.filter(|refusal| refusal.last_secs <= RECENT_SECS)
}

/// Difference of clocks that is not mentioned.
const TOLERANCE_SECS: f64 = 5.0;

/// What cannot be told from the way of a message, as registrations carry whole seconds.
const RESOLUTION_SECS: f64 = 2.0;

/// Time after which something that is tried at least once a minute counts as over.
const RECENT_SECS: f64 = 150.0;
