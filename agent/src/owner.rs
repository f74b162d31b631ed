//! The one task that owns the core: it feeds it requests, results, notices and the time, and carries out what it asks for.

mod devices;
mod groups;
mod notices;
mod outputs;
mod record;
mod report;
mod sending;
mod tasks;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tunmesh_core::{Change, Core, Now};
use tunmesh_mesh::{Refusal, Settings};
use tunmesh_protocol::{NodeId, Registration};

use self::devices::Devices;
use self::groups::Groups;
pub(crate) use self::record::draft;
use self::tasks::Outcome;
use crate::client::Features;
use crate::data::{Device, Inbound, Noticed, Socket};
use crate::peers::Peer;
use crate::requests::{Request, Requests};
use crate::settings;
use crate::shared::Shared;

/// Runs the owner until every handle is gone. `reload` is told when the core wants the file read again.
pub(crate) async fn run(
    shared: Arc<Shared>,
    core: Core,
    socket: Option<Arc<Socket>>,
    device: Arc<Device>,
    mut requests: Requests,
    mut notices: Noticed,
    reload: Arc<Notify>,
) {
    let now = Instant::now();
    let mut owner = Owner {
        core,
        devices: Devices::new(Arc::clone(&shared), socket.clone(), now),
        shared,
        socket,
        device,
        groups: Groups::new(now),
        peers: BTreeMap::new(),
        inbound: HashMap::new(),
        inbound_changed: false,
        tasks: JoinSet::new(),
        reload,
    };
    owner.publish();
    loop {
        owner.carry_out();
        let due = [owner.core.poll_timeout(), owner.devices.poll_timeout(), Some(owner.groups.poll_timeout())]
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
                owner.handle_timeout();
            }
        }
    }
}

struct Owner {
    core: Core,
    /// WireGuard devices that are members through this node.
    devices: Devices,
    shared: Arc<Shared>,
    socket: Option<Arc<Socket>>,
    device: Arc<Device>,
    groups: Groups,
    /// Members, each with its lane and its stream.
    peers: BTreeMap<NodeId, (Arc<Peer>, [AbortHandle; 2])>,
    /// Sessions in which members send to us, by our index; published as a whole.
    inbound: HashMap<u32, Arc<Inbound>>,
    /// Whether the packet threads are still to be shown other sessions.
    inbound_changed: bool,
    tasks: JoinSet<Outcome>,
    reload: Arc<Notify>,
}

impl Owner {
    fn handle_timeout(&mut self) {
        let now = self.now();
        let peers = &self.peers;
        self.core.handle_timeout(now, |id| {
            peers.get(id).map_or((0, 0), |(peer, _)| (peer.counters.tx.packets(), peer.counters.rx.packets()))
        });
        self.devices.handle_timeout(session_now(now));
        self.ask_for_groups(now);
    }

    fn handle(&mut self, request: Request) {
        let now = self.now();
        match request {
            Request::Accept { registration, proof, features, reply } => {
                let outcome = self.core.accept(&registration, proof, now.instant);
                // The peer must exist before the answer leaves: the other side opens its session next.
                self.carry_out();
                self.note_features(&registration.local.id, features, now.instant);
                self.note_registration(&registration, outcome.as_ref().err(), now);
                let _gone = reply.send(outcome.map(|()| self.core.node().answer(now.unix)));
            }
            Request::Fault { id } => self.core.handle_fault(&id, now.instant),
            Request::Leave { reply } => {
                self.core.leave(now);
                self.carry_out();
                let _gone = reply.send(());
            }
            Request::Reconfigure { settings } => self.reconfigure(*settings, now),
            Request::Report { reply } => {
                let _gone = reply.send(self.report(now.instant));
            }
            Request::Screen { registration, issuer, route, reply } => {
                let outcome = self.core.node().screen(&registration, issuer.as_ref(), route.as_ref());
                if let Err(refusal) = &outcome {
                    self.shared.incidents.claim_refused(refusal, &registration.local, &self.shared.id, now.instant);
                }
                let _gone = reply.send(outcome);
            }
            Request::SessionLost { id } => self.core.handle_session_lost(&id, now.instant),
            Request::StreamFailed { id } => self.core.handle_stream_failed(&id, now.instant),
        }
    }

    fn reconfigure(&mut self, node: Settings, now: Now) {
        let live = self.shared.live.load_full();
        self.devices.reconfigure(now.instant);
        let change = Change {
            node,
            core: settings::core(&live.config, self.device.mtu()),
            addresses: settings::addresses(&live.config.networking).into_iter().map(Into::into).collect(),
            identity: live.tls.identity.clone().map(|identity| Box::new(identity) as _),
        };
        self.core.reconfigure(change, now);
    }

    fn conclude(&mut self, outcome: Outcome) {
        let now = self.now();
        match outcome {
            Outcome::Met { url, result } => {
                self.shared.meetings.fetch_sub(1, Relaxed);
                let answer = result.as_ref().map(|met| &met.0).map_err(|failure| *failure);
                let met = self.core.handle_met(&url, answer, now.instant);
                self.carry_out();
                if let Ok((answer, implementation)) = result {
                    self.note_registration(&answer, met.as_ref().err(), now);
                    if let Some(other) = &implementation {
                        self.core.note_version(&answer.local.id, other.version.clone());
                    }
                    let features = Features::of(implementation.as_ref());
                    self.note_features(&answer.local.id, Some(features), now.instant);
                    self.core.join(implementation.map(|other| other.endpoints).as_deref().unwrap_or_default(), now);
                }
                note_refusal(met);
            }
            Outcome::Registered { id, result } => {
                let answer = result.as_ref().map_err(|failure| *failure);
                let heard = self.core.handle_registered(&id, answer, now.instant);
                if let Ok(answer) = result {
                    self.note_registration(&answer, heard.as_ref().err(), now);
                }
                note_refusal(heard);
            }
            Outcome::SessionOpened { id, opened } => {
                self.core.handle_session_opened(&id, opened, now.instant);
                // The lane stood still meanwhile.
                if let Some((peer, _)) = self.peers.get(&id) {
                    peer.queue.wake();
                }
            }
        }
    }

    /// Takes note of the clock of a node that registered or answered, and of its claim if that is refused.
    fn note_registration(&mut self, registration: &Registration, refusal: Option<&Refusal>, now: Now) {
        match refusal {
            Some(refusal) => {
                let (claimed, ours) = (&registration.local, &self.shared.id);
                self.shared.incidents.claim_refused(refusal, claimed, ours, now.instant);
            }
            None => self.core.note_clock(&registration.local.id, registration.stamp, now),
        }
    }

    fn note_features(&mut self, id: &NodeId, features: Option<Features>, now: Instant) {
        if let (Some((peer, _)), Some(features)) = (self.peers.get(id), features) {
            peer.takes_pipelining.store(features.pipelining, Relaxed);
            self.core.note_datagrams(id, features.datagrams);
            self.core.note_streams(id, features.streams, now);
        }
    }

    fn now(&self) -> Now {
        Now { instant: Instant::now(), unix: self.shared.clock.wall() }
    }
}

/// The same moment as sessions take it.
fn session_now(now: Now) -> tunmesh_session::Now {
    tunmesh_session::Now { instant: now.instant, unix: now.unix.since_epoch() }
}

/// The other side took our registration, but what it says of itself cannot stand.
fn note_refusal(outcome: Result<(), Refusal>) {
    if let Err(refusal) = outcome {
        tracing::warn!(%refusal, "a node's answer is not accepted");
    }
}
