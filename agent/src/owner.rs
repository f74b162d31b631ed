//! The one task that owns the mesh core: it feeds it requests, results and the time, and carries out what it asks for.

mod data_plane;
mod devices;
mod groups;
mod record;
mod sending;
mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tunmesh_mesh::{Action, Departure, Event, Node, Refusal};
use tunmesh_protocol::{Member, NodeId, Registration};

pub(crate) use self::data_plane::DataPlane;
use self::groups::Groups;
pub(crate) use self::record::{addresses, draft};
use self::tasks::{Outcome, meet, open_session, register};
use crate::client::Features;
use crate::data::{Device, Notice, run_lane};
use crate::peers::Peer;
use crate::requests::{KnownMember, Report, Request, Requests};
use crate::shared::{Forwarding, Shared};
use crate::stream::run_stream;

/// Runs the owner until every handle is gone. `reload` is told when the core wants the file read again.
pub(crate) async fn run(
    shared: Arc<Shared>,
    node: Node,
    data_plane: DataPlane,
    device: Arc<Device>,
    mut requests: Requests,
    mut notices: mpsc::Receiver<Notice>,
    reload: Arc<Notify>,
) {
    let groups = Groups::new(Instant::now());
    let mut owner =
        Owner { node, shared, data_plane, device, groups, peers: BTreeMap::new(), tasks: JoinSet::new(), reload };
    owner.publish();
    loop {
        owner.carry_out();
        let due = [owner.node.poll_timeout(), owner.data_plane.poll_timeout(), Some(owner.groups.poll_timeout())]
            .into_iter()
            .flatten()
            .min();
        let due = due.map(tokio::time::Instant::from_std);
        tokio::select! {
            request = requests.0.recv() => match request {
                Some(request) => owner.handle(request),
                None => return,
            },
            Some(notice) = notices.recv() => owner.notice(notice),
            Some(outcome) = owner.tasks.join_next() => match outcome {
                Ok(outcome) => owner.conclude(outcome),
                Err(error) => tracing::error!(%error, "a control task failed"),
            },
            () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {
                let now = Instant::now();
                owner.node.handle_timeout(now);
                owner.data_plane.handle_timeout(now);
                owner.ask_for_groups(now);
            }
        }
    }
}

struct Owner {
    node: Node,
    shared: Arc<Shared>,
    data_plane: DataPlane,
    device: Arc<Device>,
    groups: Groups,
    /// Members, each with its lane and its stream.
    peers: BTreeMap<NodeId, (Arc<Peer>, [AbortHandle; 2])>,
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

    fn notice(&mut self, notice: Notice) {
        let now = Instant::now();
        let Notice::Snooped(packet) = notice else {
            return self.data_plane.handle(notice, now);
        };
        if self.groups.handle_report(&packet, now) {
            self.want_groups(now);
        }
    }

    /// Has the kernel say which multicast groups applications want, now and then.
    fn ask_for_groups(&mut self, now: Instant) {
        let (queries, changed) = self.groups.handle_timeout(now);
        for query in queries.into_iter().flatten() {
            if let Err(error) = self.device.write(&query) {
                tracing::debug!(%error, "the device took no multicast query");
            }
        }
        if changed {
            self.want_groups(now);
        }
    }

    fn want_groups(&mut self, now: Instant) {
        self.node.set_joined(self.groups.wanted());
        self.data_plane.want(self.groups.wanted(), now);
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
                if let Some((_, senders)) = self.peers.remove(&member.id) {
                    senders.iter().for_each(AbortHandle::abort);
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
        let stream = tokio::spawn(run_stream(Arc::clone(&self.shared), Arc::clone(&peer)));
        let senders = [lane.abort_handle(), stream.abort_handle()];
        self.data_plane.admit(Arc::clone(&peer), now);
        if let Some((_, old)) = self.peers.insert(peer.id.clone(), (peer, senders)) {
            old.iter().for_each(AbortHandle::abort);
        }
    }

    /// Hands a new snapshot to the packet path.
    fn publish(&self) {
        for view in self.node.members() {
            if let Some((peer, _)) = self.peers.get(&view.member.id) {
                peer.update(view.member);
            }
        }
        let members = self.peers.values().map(|(peer, _)| peer);
        let peers = members.chain(self.data_plane.devices()).map(|peer| (peer.id.clone(), Arc::clone(peer))).collect();
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
            Request::Accept { registration, proof, features, reply } => {
                let outcome = self.node.accept(&registration, proof, now);
                // The peer must exist before the answer leaves: the other side opens its session next.
                self.carry_out();
                self.note_features(&registration.local.id, features, now);
                self.note_registration(&registration, outcome.as_ref().err(), now);
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
                    path: self.data_plane.report(&view.member.id),
                });
                let report = Report {
                    health: self.node.health(now),
                    members: members.collect(),
                    gossip: self.data_plane.gossip_report(),
                    contests: self.data_plane.contests(&self.node),
                };
                let _gone = reply.send(report);
            }
            Request::Screen { registration, issuer, route, reply } => {
                let outcome = self.node.screen(&registration, issuer.as_ref(), route.as_ref());
                if let Err(refusal) = &outcome {
                    self.shared.incidents.claim_refused(refusal, &registration.local, &self.shared.id, now);
                }
                let _gone = reply.send(outcome);
            }
            Request::SessionLost { id } => self.node.handle_session_lost(&id, now),
            Request::StreamFailed { id } => self.data_plane.handle_stream_failed(&id, now),
        }
    }

    fn conclude(&mut self, outcome: Outcome) {
        let now = Instant::now();
        match outcome {
            Outcome::Met { url, result } => {
                self.shared.meetings.fetch_sub(1, Relaxed);
                let met =
                    self.node.handle_met(&url, result.as_ref().map(|met| &met.0).map_err(|failure| *failure), now);
                self.carry_out();
                if let Ok((answer, implementation)) = result {
                    self.note_registration(&answer, met.as_ref().err(), now);
                    if let Some(other) = &implementation {
                        self.data_plane.note_version(&answer.local.id, other.version.clone());
                    }
                    self.note_features(&answer.local.id, Some(Features::of(implementation.as_ref())), now);
                    self.data_plane
                        .join(implementation.map(|other| other.endpoints).as_deref().unwrap_or_default(), now);
                }
                note_refusal(met);
            }
            Outcome::Registered { id, result } => {
                let heard = self.node.handle_registered(&id, result.as_ref().map_err(|failure| *failure), now);
                if let Ok(answer) = result {
                    self.note_registration(&answer, heard.as_ref().err(), now);
                }
                note_refusal(heard);
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

    /// Takes note of the clock of a node that registered or answered, and of its claim if that is refused.
    fn note_registration(&mut self, registration: &Registration, refusal: Option<&Refusal>, now: Instant) {
        match refusal {
            Some(refusal) => {
                self.shared.incidents.claim_refused(refusal, &registration.local, &self.shared.id, now);
            }
            None => self.data_plane.note_clock(&registration.local.id, registration.stamp),
        }
    }

    fn note_features(&mut self, id: &NodeId, features: Option<Features>, now: Instant) {
        if let (Some((peer, _)), Some(features)) = (self.peers.get(id), features) {
            peer.takes_pipelining.store(features.pipelining, Relaxed);
            self.data_plane.note_datagrams(id, features.datagrams);
            self.data_plane.note_streams(id, features.streams, now);
        }
    }
}

/// The other side took our registration, but what it says of itself cannot stand.
fn note_refusal(outcome: Result<(), Refusal>) {
    if let Err(refusal) = outcome {
        tracing::warn!(%refusal, "a node's answer is not accepted");
    }
}
