use std::time::{Duration, Instant};

use tunmesh_mesh::{DropReason, Offers, Way};
use tunmesh_protocol::NodeId;

use super::DataPlane;
use crate::data::QueuedPacket;
use crate::peers::Peer;
use crate::shared::Shared;
use crate::stream::QueuedCapsule;

/// Streams, as one of the ways.
impl DataPlane {
    /// Takes note whether a member takes streams, one that the gossip does not vouch for.
    pub(crate) fn note_streams(&mut self, id: &NodeId, takes: bool, now: Instant) {
        let live = self.shared.live.load();
        let paths = &live.config.networking.data_plane.paths;
        let Some(peering) = self.peerings.get_mut(id).filter(|peering| peering.sealed.is_none()) else {
            return;
        };
        peering.takes_streams = takes && paths.stream;
        let stream = peering.takes_streams && !self.resting.iter().any(|(_, resting)| resting == id);
        peering.path.offer(Offers { stream, v0: paths.v0 || !peering.takes_streams, ..peering.path.offers() }, now);
    }

    /// No stream to a member can be opened: its packets go another way for a while.
    pub(crate) fn handle_stream_failed(&mut self, id: &NodeId, now: Instant) {
        let Some(peering) = self.peerings.get_mut(id).filter(|peering| peering.path.offers().stream) else {
            return;
        };
        peering.path.offer(Offers { stream: false, ..peering.path.offers() }, now);
        self.resting.push_back((now + REST, id.clone()));
    }

    /// Tries streams again that failed a while ago.
    pub(super) fn resume_streams(&mut self, now: Instant) {
        while self.next_resumption().is_some_and(|at| at <= now)
            && let Some((_, id)) = self.resting.pop_front()
        {
            if let Some(peering) = self.peerings.get_mut(&id) {
                peering.path.offer(Offers { stream: peering.takes_streams, ..peering.path.offers() }, now);
            }
        }
    }

    /// When to call [`Self::resume_streams`] next.
    pub(super) fn next_resumption(&self) -> Option<Instant> {
        self.resting.front().map(|(at, _)| *at)
    }
}

/// Moves packets that wait for a lane or a stream to the other one, if that is where packets go now.
pub(super) fn requeue(shared: &Shared, peer: &Peer, way: Way, now: Instant) {
    let lost: usize = match way {
        Way::Stream => {
            let mut packets = Vec::new();
            peer.queue.take(usize::MAX, &mut packets);
            let capsules = packets.iter().map(|packet| QueuedCapsule::whole(&packet.data, packet.read_at));
            capsules.map(|capsule| usize::from(peer.stream.push(capsule).is_err())).sum()
        }
        Way::V0 => {
            let capsules = std::iter::from_fn(|| peer.stream.pop());
            let packets = capsules.flat_map(QueuedCapsule::into_packets);
            let queued = packets.map(|packet| QueuedPacket::new(packet, now, shared.clock));
            queued.map(|packet| usize::from(peer.queue.push(packet).is_err())).sum()
        }
        // Lane and stream send what they have.
        Way::Udp | Way::Unknown => 0,
    };
    shared.counters.drops.add_many(DropReason::QueueFull, lost);
    peer.counters.drops.add_many(DropReason::QueueFull, lost);
}

/// Time after which a stream that could not be opened is tried again.
const REST: Duration = Duration::from_secs(60);
