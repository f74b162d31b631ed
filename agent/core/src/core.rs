mod gossip;
mod node;
mod paths;
mod report;
mod sessions;
mod streams;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tunmesh_membership::{DATAGRAM_TYPE, Membership, Now, Record, RecordDraft, RecordError};
use tunmesh_mesh::{Node, Path, TICK};
use tunmesh_protocol::NodeId;
use tunmesh_session::{Endpoint, PeerId, Session};

use self::report::Told;
use crate::output::{Output, Refused};
use crate::settings::{Change, Settings};

/// One node: whom it knows, by the v0 protocol and by gossip, and how packets reach them.
///
/// It does nothing by itself. Its owner
///
/// 1. reports what happened, by `handle_*` and the other calls that take the time;
/// 2. does what [`poll_output`](Self::poll_output) returns until it returns nothing, after every such call;
/// 3. calls [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) has passed.
///
/// Times handed in must not run backwards.
pub struct Core {
    settings: Settings,
    node: Node,
    /// `None` if this node takes no datagrams.
    membership: Option<Membership>,
    endpoint: Endpoint,
    /// Every member of the node.
    peerings: BTreeMap<NodeId, Peering>,
    numbers: BTreeMap<PeerId, NodeId>,
    next_number: u32,
    /// Whose the sessions are in which others send to us, by our index.
    inbound: BTreeMap<u32, PeerId>,
    /// Members that the gossip vouches for and the node does not have; they are offered again when somebody leaves.
    waiting: BTreeSet<NodeId>,
    /// Members whose path may have something to do.
    touched: BTreeSet<NodeId>,
    /// Members whose path is to be looked at every [`TICK`].
    busy: BTreeSet<NodeId>,
    next_tick: Option<Instant>,
    /// Members to whom no stream could be opened, with the time to try again, in that order.
    resting: VecDeque<(Instant, NodeId)>,
    outputs: VecDeque<Output>,
}

/// One member, as far as sessions and ways to it are concerned.
struct Peering {
    path: Path,
    /// What it says of itself, and its number at the endpoint; while the gossip vouches for it.
    sealed: Option<(Arc<Record>, PeerId)>,
    /// What we send in.
    sending: Option<Arc<Session>>,
    told: Told,
    /// Whether both ends take streams, even if none can be opened for the moment.
    takes_streams: bool,
}

impl Core {
    /// A node of these parts, none of which has been used yet.
    pub fn new(settings: Settings, node: Node, membership: Option<Membership>, endpoint: Endpoint) -> Self {
        Self {
            settings,
            node,
            membership,
            endpoint,
            peerings: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_number: 0,
            inbound: BTreeMap::new(),
            waiting: BTreeSet::new(),
            touched: BTreeSet::new(),
            busy: BTreeSet::new(),
            next_tick: None,
            resting: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes a datagram that carries no packet.
    ///
    /// # Errors
    ///
    /// Why it was not heeded.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8], now: Now) -> Result<(), Refused> {
        if datagram.first() != Some(&DATAGRAM_TYPE) {
            let taken = self.endpoint.handle_datagram(session_now(now), from, datagram);
            return taken.map(|_| ()).map_err(Refused::Handshake);
        }
        match &mut self.membership {
            Some(membership) => membership.handle_datagram(now, from, datagram).map_err(Refused::Gossip),
            None => Ok(()),
        }
    }

    /// Does all that is due. `traffic` is asked for the packets sent to and received from a peer since it joined.
    pub fn handle_timeout(&mut self, now: Now, traffic: impl FnMut(&NodeId) -> (u64, u64)) {
        self.node.handle_timeout(now.instant);
        if let Some(membership) = &mut self.membership {
            membership.handle_timeout(now);
        }
        self.endpoint.handle_timeout(session_now(now));
        self.resume_streams(now.instant);
        self.tick(now.instant, traffic);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. Any other call may change it.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let membership = self.membership.as_ref().and_then(Membership::poll_timeout);
        let sessions = self.endpoint.poll_timeout();
        let streams = self.resting.front().map(|(at, _)| *at);
        [self.node.poll_timeout(), membership, sessions, self.next_tick, streams].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self, now: Now) -> Option<Output> {
        if self.outputs.is_empty() {
            self.settle(now);
        }
        self.outputs.pop_front()
    }

    /// The v0 core, to be asked.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The gossip, to be asked; `None` without datagrams.
    pub fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// Calls nodes that take our gossip there.
    pub fn join(&mut self, endpoints: &[SocketAddr], now: Now) {
        if let Some(membership) = &mut self.membership {
            endpoints.iter().for_each(|endpoint| membership.join(now, *endpoint));
        }
    }

    /// Takes leave of the others.
    pub fn leave(&mut self, now: Now) {
        if let Some(membership) = &mut self.membership {
            membership.leave(now);
        }
    }

    /// Takes note of the multicast groups that are wanted here, and tells the others.
    ///
    /// # Errors
    ///
    /// When there are more than a record holds: the others are not told.
    pub fn want(&mut self, groups: BTreeSet<IpAddr>, now: Now) -> Result<(), RecordError> {
        self.node.set_joined(groups.clone());
        let Some(membership) = &mut self.membership else {
            return Ok(());
        };
        let groups = groups.into_iter().collect();
        membership.update(now, RecordDraft { groups, ..membership.draft().clone() })
    }

    /// Takes over another configuration. What cannot be taken over is told by [`Output::Note`], and stays as it was.
    pub fn reconfigure(&mut self, change: Change, now: Now) {
        let Change { node, core, addresses, identity } = change;
        self.node.reconfigure(node, now.instant);
        let before = std::mem::replace(&mut self.settings, core);
        self.reintroduce(addresses, identity, before.secrets, now);
        let mtu = self.settings.mtu;
        for (id, peering) in &mut self.peerings {
            peering.path.handle_mtu(mtu, now.instant);
            self.touched.insert(id.clone());
        }
        let records: Vec<_> = self
            .peerings
            .values()
            .filter_map(|peering| peering.sealed.as_ref().map(|(record, _)| Arc::clone(record)))
            .collect();
        for record in records {
            self.seal_with(&record, now.instant);
        }
    }

    /// Takes to each part what the others told, until none has anything to tell.
    fn settle(&mut self, now: Now) {
        loop {
            let mut any = self.heed_node(now.instant);
            any |= self.heed_gossip(now.instant);
            any |= self.heed_sessions(now.instant);
            any |= self.heed_paths(now);
            if !any {
                break;
            }
        }
        while let Some(action) = self.node.poll_action() {
            self.outputs.push_back(Output::Action(action));
        }
        self.transmit();
        if self.next_tick.is_none() && !self.busy.is_empty() {
            self.next_tick = Some(now.instant + TICK);
        }
    }

    /// A member whose path is about to be told something.
    fn touch(&mut self, id: &NodeId) -> Option<&mut Peering> {
        let peering = self.peerings.get_mut(id)?;
        self.touched.insert(id.clone());
        Some(peering)
    }
}

/// The same moment as sessions take it.
fn session_now(now: Now) -> tunmesh_session::Now {
    tunmesh_session::Now { instant: now.instant, unix: now.unix.since_epoch() }
}
