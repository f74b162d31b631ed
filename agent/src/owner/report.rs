use std::time::Instant;

use tunmesh_protocol::NodeId;

use super::Owner;
use crate::requests::{Contest, GossipReport, KnownMember, PathReport, Report};

/// What can be asked.
impl Owner {
    pub(super) fn report(&self, now: Instant) -> Report {
        let members = self.core.node().members().map(|view| KnownMember {
            last_seen: view.last_seen,
            member: view.member.clone(),
            near: view.near,
            stamp: view.stamp,
            path: self.path(&view.member.id),
        });
        let contests = self.core.contests().into_iter().map(|contest| Contest {
            address: contest.address.addr().to_string(),
            holder: contest.holder,
            claimant: contest.claimant,
        });
        Report {
            health: self.core.node().health(now),
            members: members.collect(),
            gossip: self.core.gossip().map(|gossip| GossipReport {
                members: gossip.members,
                suspects: gossip.suspects,
                counters: gossip.counters,
            }),
            contests: contests.collect(),
            devices: self.devices.report().collect(),
        }
    }

    fn path(&self, id: &NodeId) -> Option<PathReport> {
        let view = self.core.path(id)?;
        Some(PathReport {
            way: view.way,
            takes_datagrams: view.takes_datagrams,
            suite: view.suite,
            last_handshake: view.last_handshake,
            quality: view.quality,
            largest: view.largest,
            endpoint: self.peers.get(id).and_then(|(peer, _)| peer.link.endpoint()),
            gossip: view.gossip,
            version: view.version,
            clock_offset_secs: view.clock_offset_secs,
        })
    }
}
