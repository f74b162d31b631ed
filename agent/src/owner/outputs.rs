use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tokio::task::AbortHandle;
use tunmesh_core::{Destination, LinkChange, Note, Output};
use tunmesh_mesh::{Action, Departure, Event};
use tunmesh_protocol::Member;

use super::Owner;
use super::sending::{flush, requeue, send};
use super::tasks::{meet, open_session, register};
use crate::data::{Inbound, run_lane};
use crate::peers::Peer;
use crate::shared::Forwarding;
use crate::stream::run_stream;

/// What the core wants done.
impl Owner {
    /// Does all that core and devices ask for.
    pub(super) fn carry_out(&mut self) {
        let now = self.now();
        while let Some(output) = self.core.poll_output(now) {
            self.apply(output, now.instant);
        }
        loop {
            let any = self.devices.sessions(now.instant);
            self.publish_sessions();
            self.devices.transmit();
            if !any {
                break;
            }
        }
    }

    /// Hands a new snapshot of routes and peers to the packet path.
    pub(super) fn publish(&self) {
        for view in self.core.node().members() {
            if let Some((peer, _)) = self.peers.get(&view.member.id) {
                peer.update(view.member);
            }
        }
        let members = self.peers.values().map(|(peer, _)| peer);
        let peers = members.chain(self.devices.peers()).map(|peer| (peer.id.clone(), Arc::clone(peer))).collect();
        self.shared.forwarding.send_replace(Arc::new(Forwarding { peers, routes: self.core.node().routes() }));
    }

    /// Shows new sessions to the packet threads, before the peer can learn of them.
    fn publish_sessions(&mut self) {
        if std::mem::take(&mut self.inbound_changed) | self.devices.take_changed() {
            let mut all = self.inbound.clone();
            self.devices.add_sessions(&mut all);
            self.shared.sessions.store(Arc::new(all));
        }
    }

    fn apply(&mut self, output: Output, now: Instant) {
        match output {
            Output::Action(action) => self.start(action),
            Output::Event(event) => self.heed(event),
            Output::Link(id, change) => {
                if let Some((peer, _)) = self.peers.get(&id) {
                    self.relink(peer, change, now);
                }
            }
            Output::Note(note) => log(note),
            Output::SessionAdded { peer: id, session } => {
                if let Some((peer, _)) = self.peers.get(&id) {
                    let peer = Arc::clone(peer);
                    self.inbound.insert(session.local_index(), Arc::new(Inbound { peer, session }));
                    self.inbound_changed = true;
                }
            }
            Output::SessionRemoved { local_index } => {
                self.inbound.remove(&local_index);
                self.inbound_changed = true;
            }
            Output::Transmit { to, datagram } => self.transmit(to, &datagram),
        }
    }

    fn transmit(&mut self, to: Destination, datagram: &[u8]) {
        self.publish_sessions();
        let Some(socket) = &self.socket else {
            return;
        };
        match to {
            Destination::Address(to) => send(socket, to, datagram),
            Destination::Peer { id, also } => {
                let heard_at = self.peers.get(&id).and_then(|(peer, _)| peer.link.endpoint());
                heard_at.into_iter().for_each(|to| send(socket, to, datagram));
                for to in also.into_iter().filter(|to| Some(*to) != heard_at) {
                    send(socket, to, datagram);
                }
            }
        }
    }

    fn relink(&self, peer: &Peer, change: LinkChange, now: Instant) {
        let link = &peer.link;
        match change {
            LinkChange::Advertised(endpoint) => {
                if link.endpoint().is_none() {
                    link.set_endpoint(endpoint);
                }
            }
            LinkChange::Heard(endpoint) => link.set_endpoint(endpoint),
            LinkChange::Largest { bytes, settled } => {
                if settled && bytes != link.largest() {
                    tracing::info!(peer = %peer.id, bytes, "largest packet on the path");
                }
                link.set_largest(bytes, settled);
            }
            LinkChange::Session(session) => link.set_session(session),
            LinkChange::Way(way) => {
                if link.way() != way {
                    tracing::info!(peer = %peer.id, way = way.as_str(), "path");
                }
                link.set_way(way);
                requeue(&self.shared, peer, way, now);
                flush(&self.shared, self.socket.as_deref(), peer, way, now);
            }
        }
    }

    fn heed(&mut self, event: Event) {
        match event {
            Event::ConfigReloadDue => self.reload.notify_one(),
            Event::MemberJoined { member } => {
                tracing::info!(peer = %member.id, "member joined");
                tracing::debug!(peer = %member.id, address = %member.address, url = %member.listen_url, "member joined at");
                self.admit(member);
            }
            Event::MemberLeft { member, reason } => {
                let reason = match reason {
                    Departure::AddressVacated => "another node has its address now",
                    Departure::Left => "it took leave",
                    Departure::Replaced => "another node answers at its URL now",
                    Departure::Stale => "not heard of for too long",
                };
                tracing::info!(peer = %member.id, reason, "member left");
                if let Some((_, senders)) = self.peers.remove(&member.id) {
                    senders.iter().for_each(AbortHandle::abort);
                }
            }
            Event::RoutesChanged => self.publish(),
        }
    }

    fn admit(&mut self, member: Member) {
        let peer = Arc::new(Peer::new(member));
        let lane = tokio::spawn(run_lane(Arc::clone(&self.shared), Arc::clone(&peer)));
        let stream = tokio::spawn(run_stream(Arc::clone(&self.shared), Arc::clone(&peer)));
        let senders = [lane.abort_handle(), stream.abort_handle()];
        if let Some((_, old)) = self.peers.insert(peer.id.clone(), (peer, senders)) {
            old.iter().for_each(AbortHandle::abort);
        }
    }

    fn start(&mut self, action: Action) {
        let shared = Arc::clone(&self.shared);
        let wall = shared.clock.wall();
        match action {
            Action::Meet { url, .. } => {
                shared.meetings.fetch_add(1, Relaxed);
                self.tasks.spawn(meet(shared, url, self.core.node().answer(wall)));
            }
            Action::OpenSession { member, rotate } => match self.peers.get(&member.id) {
                Some((peer, _)) => {
                    self.tasks.spawn(open_session(shared, Arc::clone(peer), rotate));
                }
                None => self.core.handle_session_opened(&member.id, false, Instant::now()),
            },
            Action::Register { member } => {
                if let Some((peer, _)) = self.peers.get(&member.id) {
                    self.tasks.spawn(register(shared, Arc::clone(peer), self.core.node().answer(wall)));
                }
            }
        }
    }
}

fn log(note: Note) {
    match note {
        Note::AddressesUntold(error) => tracing::error!(%error, "others are not told of the WireGuard devices"),
        Note::Contested { address, holder, claimant } => {
            tracing::warn!(%address, %holder, %claimant, "two members claim one address");
        }
        Note::IdentityUnused(error) => {
            tracing::error!(%error, "the changed certificate is not used for the gossip; an ECDSA P-256 or Ed25519 key makes it short enough");
        }
        Note::NoAddress(id) => tracing::warn!(peer = %id, "a member without an address in our network"),
        Note::NoCommonSecret(id) => tracing::warn!(peer = %id, "no common cluster secret, so no session"),
        Note::NoSession(id, error) => tracing::warn!(peer = %id, %error, "no session with this member"),
        Note::NotAccepted(id, refusal) => {
            tracing::warn!(peer = %id, %refusal, "a member of the gossip is not accepted");
        }
        Note::SecretsUnused(error) => tracing::error!(%error, "the secrets are not used for the gossip"),
    }
}
