//! What nodes refused each other lately, for status and diagnosis: written where it happens, read by the owner's report.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tunmesh_membership::Refused;
use tunmesh_mesh::Refusal;
use tunmesh_protocol::{AuthReason, Member, NodeId};
use tunmesh_session::Refusal as HandshakeRefusal;

/// Refusals by kind, and the last claims to addresses that others have. Bounded, whatever the network sends.
#[derive(Default)]
pub(crate) struct Incidents {
    refusals: Mutex<BTreeMap<RefusalKind, Tally>>,
    claims: Mutex<VecDeque<Claim>>,
}

/// How often something was refused.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) last_at: Instant,
    /// Who was refused the last time, or by whom we were: an address or URL.
    pub(crate) subject: String,
}

/// Who refused what for what reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefusalKind {
    /// A gossip datagram whose stamp is too far from our clock.
    GossipClock,
    /// A gossip datagram sealed with a secret that is not ours.
    GossipSecret,
    /// A handshake message that was not heeded, but for those of the next kind.
    Handshake,
    /// A handshake message that was answered with a cookie, as there were too many.
    HandshakeCookie,
    /// A registration or session request to us whose token is not valid at this time of our clock.
    RequestClock,
    /// A registration or session request to us, signed with a secret that is not ours.
    RequestSecret,
    /// A registration or session request of ours that another node answered with 401 or 403.
    WeAreDenied,
}

/// A member's claim to an address that another one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) address: String,
    pub(crate) holder: NodeId,
    pub(crate) claimant: NodeId,
    pub(crate) last_at: Instant,
}

impl RefusalKind {
    /// The name that status documents have, for a metric.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::GossipClock => "gossip_clock",
            Self::GossipSecret => "gossip_secret",
            Self::Handshake => "handshake",
            Self::HandshakeCookie => "handshake_cookie",
            Self::RequestClock => "request_clock",
            Self::RequestSecret => "request_secret",
            Self::WeAreDenied => "we_are_denied",
        }
    }
}

impl Incidents {
    pub(crate) fn refused(&self, kind: RefusalKind, subject: String, now: Instant) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = refusals.entry(kind).or_insert_with(|| Tally { count: 0, last_at: now, subject: String::new() });
        *tally = Tally { count: tally.count + 1, last_at: now, subject };
    }

    /// Takes note of a refused gossip datagram if the reason is one that somebody has to mend.
    pub(crate) fn gossip_refused(&self, reason: Refused, from: std::net::SocketAddr, now: Instant) {
        let kind = match reason {
            Refused::ClockSkew => RefusalKind::GossipClock,
            Refused::Unauthentic | Refused::UnknownKey => RefusalKind::GossipSecret,
            Refused::Itself
            | Refused::Left
            | Refused::Malformed
            | Refused::NotGossip
            | Refused::Record(_)
            | Refused::Replayed
            | Refused::TooManySenders => return,
        };
        self.refused(kind, from.to_string(), now);
    }

    /// Takes note of a handshake message that was not heeded.
    pub(crate) fn handshake_refused(&self, reason: HandshakeRefusal, from: std::net::SocketAddr, now: Instant) {
        let kind = match reason {
            HandshakeRefusal::CookieRequired => RefusalKind::HandshakeCookie,
            HandshakeRefusal::Forged
            | HandshakeRefusal::Malformed
            | HandshakeRefusal::PeerTooFast
            | HandshakeRefusal::Replayed
            | HandshakeRefusal::SourceTooFast
            | HandshakeRefusal::UnknownIndex
            | HandshakeRefusal::UnknownPeer
            | HandshakeRefusal::WrongMac
            | HandshakeRefusal::WrongSuite => RefusalKind::Handshake,
        };
        self.refused(kind, from.to_string(), now);
    }

    /// Takes note of a request that should have been signed with the cluster secret.
    pub(crate) fn request_refused(&self, reason: AuthReason, now: Instant) {
        let kind = match reason {
            AuthReason::Early | AuthReason::Expired => RefusalKind::RequestClock,
            AuthReason::Signature => RefusalKind::RequestSecret,
            AuthReason::Audience | AuthReason::Body | AuthReason::Scheme | AuthReason::Subject => return,
        };
        self.refused(kind, "a request to our control API".into(), now);
    }

    /// Takes note of `claimant` if it is refused for the address it claims; `own` is this node.
    pub(crate) fn claim_refused(&self, refusal: &Refusal, claimant: &Member, own: &NodeId, now: Instant) {
        let holder = match refusal {
            Refusal::AddressIsOurs => own,
            Refusal::AddressTaken { owner } => owner,
            Refusal::AddressChanged { .. }
            | Refusal::Full
            | Refusal::IdMismatch
            | Refusal::PlaceTaken { .. }
            | Refusal::ToSelf
            | Refusal::Unproven => return,
        };
        let address = claimant.address.address().to_string();
        let claim = Claim { address, holder: holder.clone(), claimant: claimant.id.clone(), last_at: now };
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|known| (&known.address, &known.claimant) != (&claim.address, &claim.claimant));
        if claims.len() >= MAX_CLAIMS {
            claims.pop_front();
        }
        claims.push_back(claim);
    }

    /// What was refused since the start.
    pub(crate) fn refusals(&self) -> BTreeMap<RefusalKind, Tally> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last refused claims, oldest first.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Claims that are remembered.
const MAX_CLAIMS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_kind_and_name_the_last_subject() {
        let (incidents, now) = (Incidents::default(), Instant::now());

        for port in [1, 2] {
            incidents.gossip_refused(Refused::UnknownKey, ([192, 0, 2, 1], port).into(), now);
        }
        incidents.gossip_refused(Refused::Replayed, ([192, 0, 2, 1], 3).into(), now);
        incidents.request_refused(AuthReason::Early, now);
        incidents.request_refused(AuthReason::Body, now);
        for (reason, port) in [
            (HandshakeRefusal::WrongMac, 4),
            (HandshakeRefusal::CookieRequired, 5),
            (HandshakeRefusal::SourceTooFast, 6),
        ] {
            incidents.handshake_refused(reason, ([192, 0, 2, 1], port).into(), now);
        }

        let found: Vec<_> =
            incidents.refusals().into_iter().map(|(kind, tally)| (kind, tally.count, tally.subject)).collect();
        let expected = [
            (RefusalKind::GossipSecret, 2, "192.0.2.1:2".to_owned()),
            (RefusalKind::Handshake, 2, "192.0.2.1:6".to_owned()),
            (RefusalKind::HandshakeCookie, 1, "192.0.2.1:5".to_owned()),
            (RefusalKind::RequestClock, 1, "a request to our control API".to_owned()),
        ];
        assert_eq!(found, expected);
        for (kind, ..) in expected {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn a_repeated_claim_is_one_and_the_oldest_gives_way() {
        let (incidents, now, own) = (Incidents::default(), Instant::now(), id("own"));
        for number in 0..MAX_CLAIMS + 1 {
            for _ in 0..2 {
                incidents.claim_refused(&Refusal::AddressIsOurs, &member(&format!("node{number}")), &own, now);
            }
        }
        incidents.claim_refused(&Refusal::Unproven, &member("nobody"), &own, now);

        let claims = incidents.claims();
        assert_eq!((claims.len(), &claims[0].claimant), (MAX_CLAIMS, &id("node1")));
        assert!(claims.iter().all(|claim| claim.holder == own && claim.address == "192.168.129.20"));
    }

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    fn member(name: &str) -> Member {
        Member {
            id: id(name),
            listen_url: "https://a:1".parse().unwrap(),
            network: "192.168.129.0/24".parse().unwrap(),
            address: "192.168.129.20/26".parse().unwrap(),
        }
    }
}
