use std::time::{Duration, Instant};

use tunmesh_mesh::Offers;
use tunmesh_protocol::NodeId;

use super::Core;

/// Streams, as one of the ways.
impl Core {
    /// Takes note whether a member takes streams, one that the gossip does not vouch for.
    pub fn note_streams(&mut self, id: &NodeId, takes: bool, now: Instant) {
        let is_taken = self.settings.paths.stream;
        let Some(peering) = self.touch(id).filter(|peering| peering.sealed.is_none()) else {
            return;
        };
        peering.takes_streams = takes && is_taken;
        self.offer_ways(id, now);
    }

    /// Offers a member's path what both ends take. Who takes nothing else is always reached by the v0 protocol.
    pub(super) fn offer_ways(&mut self, id: &NodeId, now: Instant) {
        let paths = self.settings.paths;
        let is_resting = self.resting.iter().any(|(_, resting)| resting == id);
        let Some(peering) = self.touch(id) else {
            return;
        };
        let is_sealed = peering.sealed.is_some();
        let offers = Offers {
            udp: is_sealed && paths.udp,
            pings: is_sealed,
            stream: peering.takes_streams && !is_resting,
            v0: paths.v0 || !(is_sealed || peering.takes_streams),
        };
        peering.path.offer(offers, now);
    }

    /// No stream to a member can be opened: its packets go another way for a while.
    pub fn handle_stream_failed(&mut self, id: &NodeId, now: Instant) {
        if self.peerings.get(id).is_some_and(|peering| peering.path.offers().stream) {
            self.resting.push_back((now + REST, id.clone()));
            self.offer_ways(id, now);
        }
    }

    /// Tries streams again that failed a while ago.
    pub(super) fn resume_streams(&mut self, now: Instant) {
        while self.resting.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, id)) = self.resting.pop_front()
        {
            self.offer_ways(&id, now);
        }
    }
}

/// Time after which a stream that could not be opened is tried again.
const REST: Duration = Duration::from_secs(60);
