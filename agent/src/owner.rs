//! The one task that owns the mesh core: it feeds it requests, results and the time, and carries out what it asks for.

mod data_plane;
mod record;
mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tunmesh_mesh::{Action, Departure, Event, Node, Refusal};
use tunmesh_protocol::{Member, NodeId};

pub(crate) use self::data_plane::DataPlane;
pub(crate) use self::record::draft;
use self::tasks::{Outcome, meet, open_session, register};
use crate::client::PIPELINING;
use crate::data::{Notice, run_lane};
use crate::peers::Peer;
use crate::requests::{KnownMember, Report, Request, Requests};
use crate::shared::{Forwarding, Shared};

/// Runs the owner until every handle is gone. `reload` is told when the core wants the file read again.
pub(crate) async fn run(
    shared: Arc<Shared>,
    node: Node,
    data_plane: DataPlane,
    mut requests: Requests,
    mut notices: mpsc::Receiver<Notice>,
    reload: Arc<Notify>,
) {
    let mut owner = Owner { node, shared, data_plane, peers: BTreeMap::new(), tasks: JoinSet::new(), reload };
    loop {
        owner.carry_out();
        let due = [owner.node.poll_timeout(), owner.data_plane.poll_timeout()].into_iter().flatten().min();
        let due = due.map(tokio::time::Instant::from_std);
        tokio::select! {
            request = requests.0.recv() => match request {
                Some(request) => owner.handle(request),
                None => return,
            },
            Some(notice) = notices.recv() => owner.data_plane.handle(notice, Instant::now()),
            Some(outcome) = owner.tasks.join_next() => match outcome {
                Ok(outcome) => owner.conclude(outcome),
                Err(error) => tracing::error!(%error, "a control task failed"),
            },
            () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {
                let now = Instant::now();
                owner.node.handle_timeout(now);
                owner.data_plane.handle_timeout(now);
            }
        }
    }
}

struct Owner {
    node: Node,
    shared: Arc<Shared>,
    data_plane: DataPlane,
    peers: BTreeMap<NodeId, (Arc<Peer>, AbortHandle)>,
    tasks: JoinSet<Outcome>,
    reload: Arc<Notify>,
}

impl Owner {
    /// Takes every event and action out of the core.
    fn carry_out(&mut self) {
        let now = Instant::now();
        loop {
            let mut changed = false;
            while let Some(event) = self.node.poll_event() {
                changed |= self.apply(event, now);
            }
            if changed {
                self.publish();
            }
            while let Some(action) = self.node.poll_action() {
                self.start(action);
            }
            if !self.data_plane.carry_out(&mut self.node, now) {
                break;
            }
        }
    }

    fn apply(&mut self, event: Event, now: Instant) -> bool {
        match event {
            Event::ConfigReloadDue => {
                self.reload.notify_one();
                false
            }
            Event::MemberJoined { member } => {
                tracing::info!(peer = %member.id, "member joined");
                tracing::debug!(peer = %member.id, address = %member.address, url = %member.listen_url, "member joined at");
                self.admit(member, now);
                true
            }
            Event::MemberLeft { member, reason } => {
                let reason = match reason {
                    Departure::AddressVacated => "another node has its address now",
                    Departure::Left => "it took leave",
                    Departure::Replaced => "another node answers at its URL now",
                    Departure::Stale => "not heard of for too long",
                };
                tracing::info!(peer = %member.id, reason, "member left");
                if let Some((_, lane)) = self.peers.remove(&member.id) {
                    lane.abort();
                }
                self.data_plane.dismiss(&member.id);
                self.data_plane.offer_waiting(&mut self.node, now);
                true
            }
            Event::RoutesChanged => true,
        }
    }

    fn admit(&mut self, member: Member, now: Instant) {
        let peer = Arc::new(Peer::new(member));
        let lane = tokio::spawn(run_lane(Arc::clone(&self.shared), Arc::clone(&peer)));
        self.data_plane.admit(Arc::clone(&peer), now);
        if let Some((_, old)) = self.peers.insert(peer.id.clone(), (peer, lane.abort_handle())) {
            old.abort();
        }
    }

    /// Hands a new snapshot to the packet path.
    fn publish(&self) {
        for view in self.node.members() {
            if let Some((peer, _)) = self.peers.get(&view.member.id) {
                peer.update(view.member);
            }
        }
        let peers = self.peers.iter().map(|(id, (peer, _))| (id.clone(), Arc::clone(peer))).collect();
        self.shared.forwarding.send_replace(Arc::new(Forwarding { peers, routes: self.node.routes() }));
    }

    fn start(&mut self, action: Action) {
        let shared = Arc::clone(&self.shared);
        let wall = shared.clock.wall();
        match action {
            Action::Meet { url, .. } => {
                shared.meetings.fetch_add(1, Relaxed);
                self.tasks.spawn(meet(shared, url, self.node.answer(wall)));
            }
            Action::OpenSession { member, rotate } => match self.peers.get(&member.id) {
                Some((peer, _)) => {
                    self.tasks.spawn(open_session(shared, Arc::clone(peer), rotate));
                }
                None => self.node.handle_session_failed(&member.id, Instant::now()),
            },
            Action::Register { member } => {
                if let Some((peer, _)) = self.peers.get(&member.id) {
                    self.tasks.spawn(register(shared, Arc::clone(peer), self.node.answer(wall)));
                }
            }
        }
    }

    fn handle(&mut self, request: Request) {
        let now = Instant::now();
        match request {
            Request::Accept { registration, proof, takes_pipelining, reply } => {
                let outcome = self.node.accept(&registration, proof, now);
                // The peer must exist before the answer leaves: the other side opens its session next.
                self.carry_out();
                self.note_pipelining(&registration.local.id, takes_pipelining);
                let _gone = reply.send(outcome.map(|()| self.node.answer(self.shared.clock.wall())));
            }
            Request::Note { id, reachable: true } => self.node.handle_reachable(&id),
            Request::Note { id, reachable: false } => self.node.handle_fault(&id, now),
            Request::Leave { reply } => {
                self.data_plane.leave(now);
                let _gone = reply.send(());
            }
            Request::Reconfigure { settings } => {
                self.node.reconfigure(*settings, now);
                self.data_plane.reconfigure(now);
            }
            Request::Report { reply } => {
                let members = self.node.members().map(|view| KnownMember {
                    last_seen: view.last_seen,
                    member: view.member.clone(),
                    near: view.near,
                    stamp: view.stamp,
                });
                let report = Report { health: self.node.health(now), members: members.collect() };
                let _gone = reply.send(report);
            }
            Request::Screen { registration, issuer, route, reply } => {
                let _gone = reply.send(self.node.screen(&registration, issuer.as_ref(), route.as_ref()));
            }
            Request::SessionLost { id } => self.node.handle_session_lost(&id, now),
        }
    }

    fn conclude(&mut self, outcome: Outcome) {
        let now = Instant::now();
        match outcome {
            Outcome::Met { url, result } => {
                self.shared.meetings.fetch_sub(1, Relaxed);
                let met =
                    self.node.handle_met(&url, result.as_ref().map(|met| &met.0).map_err(|failure| *failure), now);
                note_refusal(met);
                self.carry_out();
                if let Ok((answer, implementation)) = result {
                    let takes = implementation.as_ref().is_some_and(|other| other.offers(PIPELINING));
                    self.note_pipelining(&answer.local.id, Some(takes));
                    self.data_plane.join(implementation.map(|other| other.endpoints).as_deref().unwrap_or_default(), now);
                }
            }
            Outcome::Registered { id, result } => {
                note_refusal(self.node.handle_registered(&id, result.as_ref().map_err(|failure| *failure), now));
            }
            Outcome::SessionOpened { id, opened } => {
                if opened {
                    self.node.handle_session_opened(&id, now);
                } else {
                    self.node.handle_session_failed(&id, now);
                }
                // The lane stood still meanwhile.
                if let Some((peer, _)) = self.peers.get(&id) {
                    peer.queue.wake();
                }
            }
        }
    }

    fn note_pipelining(&self, id: &NodeId, takes_pipelining: Option<bool>) {
        if let (Some((peer, _)), Some(takes)) = (self.peers.get(id), takes_pipelining) {
            peer.takes_pipelining.store(takes, Relaxed);
        }
    }
}

/// The other side took our registration, but what it says of itself cannot stand.
fn note_refusal(outcome: Result<(), Refusal>) {
    if let Err(refusal) = outcome {
        tracing::warn!(%refusal, "a node's answer is not accepted");
    }
}
