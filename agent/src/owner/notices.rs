use std::net::SocketAddr;

use tunmesh_core::{Now, Refused};
use tunmesh_session::Refusal;

use super::{Owner, session_now};
use crate::data::Notice;
use crate::logging;

/// What packet threads leave to the owner.
impl Owner {
    pub(super) fn notice(&mut self, notice: Notice) {
        let now = self.now();
        match notice {
            Notice::Confirmed { local_index } => {
                if !self.core.handle_confirmed(local_index, now.instant) {
                    self.devices.confirmed(local_index, now.instant);
                }
            }
            Notice::Datagram { from, bytes } => self.datagram(from, &bytes, now),
            Notice::Pong { peer: id, number, len, at } => {
                let round_trip = self.core.handle_pong(&id, number, len, at);
                let live = self.shared.live.load();
                if let Some(round_trip) = round_trip.filter(|_| live.config.monitoring.enable_node_packet_metrics)
                    && let Some((peer, _)) = self.peers.get(&id)
                {
                    // Sealed packets carry no time; half of a round trip is how long they take.
                    peer.counters.latency.observe(round_trip / 2);
                }
            }
            Notice::Snooped(packet) => {
                if self.groups.handle_report(&packet, now.instant) {
                    self.want_groups(now);
                }
            }
            Notice::TooBig { to, len } => {
                let mut peers = self.peers.values();
                if let Some((peer, _)) = peers.find(|(peer, _)| peer.link.endpoint() == Some(to)) {
                    self.core.handle_too_big(&peer.id, len, now.instant);
                }
            }
            Notice::Wanted(id) => {
                if !self.core.handle_wanted(&id, now.instant) {
                    self.devices.wanted(&id, session_now(now));
                }
            }
        }
    }

    fn datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Now) {
        let outcome = match self.core.handle_datagram(from, bytes, now) {
            Ok(()) => return,
            Err(Refused::Gossip(refused)) => {
                self.shared.incidents.gossip_refused(refused, from, now.instant);
                return tracing::debug!(%from, error = logging::chain(&refused), "gossip refused");
            }
            Err(Refused::Handshake(Refusal::UnknownIndex | Refusal::WrongMac)) => {
                self.devices.handle_datagram(session_now(now), from, bytes).map(|_| ())
            }
            Err(Refused::Handshake(refusal)) => Err(refusal),
        };
        if let Err(refusal) = outcome {
            self.shared.incidents.handshake_refused(refusal, from, now.instant);
            tracing::debug!(%from, %refusal, "handshake refused");
        }
    }

    /// Has the kernel say which multicast groups applications want, now and then.
    pub(super) fn ask_for_groups(&mut self, now: Now) {
        let (queries, changed) = self.groups.handle_timeout(now.instant);
        for query in queries.into_iter().flatten() {
            if let Err(error) = self.device.write(&query) {
                tracing::debug!(%error, "the device took no multicast query");
            }
        }
        if changed {
            self.want_groups(now);
        }
    }

    fn want_groups(&mut self, now: Now) {
        if let Err(error) = self.core.want(self.groups.wanted(), now) {
            tracing::warn!(%error, "the multicast groups are not told to the others");
        }
    }
}
