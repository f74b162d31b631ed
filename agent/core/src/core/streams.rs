use std::time::{Duration, Instant};

use tunmesh_mesh::Offers;
use tunmesh_protocol::NodeId;

use super::Core;

/// Streams, as one of the ways.
impl Core {
    /// Takes note whether a member takes streams, one that the gossip does not vouch for.
    pub fn note_streams(&mut self, id: &NodeId, takes: bool, now: Instant) {
        let paths = self.settings.paths;
        let is_resting = self.resting.iter().any(|(_, resting)| resting == id);
        let Some(peering) = self.touch(id).filter(|peering| peering.sealed.is_none()) else {
            return;
        };
        peering.takes_streams = takes && paths.stream;
        let stream = peering.takes_streams && !is_resting;
        peering.path.offer(Offers { stream, v0: paths.v0 || !peering.takes_streams, ..peering.path.offers() }, now);
    }

    /// No stream to a member can be opened: its packets go another way for a while.
    pub fn handle_stream_failed(&mut self, id: &NodeId, now: Instant) {
        let Some(peering) = self.touch(id).filter(|peering| peering.path.offers().stream) else {
            return;
        };
        peering.path.offer(Offers { stream: false, ..peering.path.offers() }, now);
        self.resting.push_back((now + REST, id.clone()));
    }

    /// Tries streams again that failed a while ago.
    pub(super) fn resume_streams(&mut self, now: Instant) {
        while self.resting.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, id)) = self.resting.pop_front()
        {
            if let Some(peering) = self.touch(&id) {
                peering.path.offer(Offers { stream: peering.takes_streams, ..peering.path.offers() }, now);
            }
        }
    }
}

/// Time after which a stream that could not be opened is tried again.
const REST: Duration = Duration::from_secs(60);
