use std::time::{Duration, Instant};

use tunmesh_membership::Now;
use tunmesh_mesh::{PathAction, Way};
use tunmesh_protocol::NodeId;
use tunmesh_session::Session;

use super::{Core, session_now};
use crate::output::LinkChange;

/// Paths: which way packets to each member go.
impl Core {
    /// Packets wait for a way to a peer; `false` if it is no member.
    pub fn handle_wanted(&mut self, id: &NodeId, now: Instant) -> bool {
        let Some(peering) = self.touch(id) else {
            return false;
        };
        peering.path.handle_wanted(now);
        true
    }

    /// A ping to a peer came back; returns its round trip, unless it only looked for the packet size.
    pub fn handle_pong(&mut self, id: &NodeId, number: u64, len: usize, at: Instant) -> Option<Duration> {
        self.touch(id)?.path.handle_pong(number, len, at)
    }

    /// The outgoing interface takes no datagram of `len` bytes to a peer.
    pub fn handle_too_big(&mut self, id: &NodeId, len: usize, now: Instant) {
        if let Some(peering) = self.touch(id) {
            peering.path.handle_too_big(len.saturating_sub(Session::HEADER_LEN + Session::TAG_LEN), now);
        }
    }

    pub(super) fn tick(&mut self, now: Instant, mut traffic: impl FnMut(&NodeId) -> (u64, u64)) {
        if self.next_tick.is_none_or(|at| at > now) {
            return;
        }
        self.next_tick = None;
        for id in &self.busy {
            if let Some(peering) = self.peerings.get_mut(id) {
                let (sent, received) = traffic(id);
                peering.path.tick(sent, received, now);
            }
        }
        self.touched.extend(self.busy.iter().cloned());
    }

    pub(super) fn heed_paths(&mut self, now: Now) -> bool {
        let mut any = false;
        while let Some(id) = self.touched.pop_first() {
            while let Some(action) = self.peerings.get_mut(&id).and_then(|peering| peering.path.poll_action()) {
                any = true;
                self.carry_out(&id, action, now);
            }
            if self.peerings.get(&id).is_some_and(|peering| peering.path.is_busy()) {
                self.busy.insert(id);
            } else {
                self.busy.remove(&id);
            }
        }
        any
    }

    fn carry_out(&mut self, id: &NodeId, action: PathAction, now: Now) {
        match action {
            PathAction::Connect => {
                if let Some((_, number)) = self.peerings.get(id).and_then(|peering| peering.sealed.as_ref()) {
                    self.endpoint.connect(*number, session_now(now));
                }
            }
            PathAction::Ping { number, len } => self.ping(id.clone(), number, len, now.instant),
            PathAction::Fit { largest, settled } => self.link(id, LinkChange::Largest { bytes: largest, settled }),
            PathAction::Take(way) => {
                self.link(id, LinkChange::Way(way));
                if way == Way::V0 {
                    self.node.handle_session_wanted(id, now.instant);
                }
            }
        }
    }
}
