//! What the owner does beside the v0 core for peers of our kind: gossip, sessions, and the way packets take.

mod report;
mod streams;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tunmesh_membership::{DATAGRAM_TYPE, KeyRing, Membership, Record, RecordDraft};
use tunmesh_mesh::{Node, Offers, Path, PathAction, TICK, Way};
use tunmesh_protocol::NodeId;
use tunmesh_session::{
    Endpoint, Event, PeerId, PeerSettings, PresharedKey, PublicKey, Refusal, Session, Suite, Target,
};

use self::report::Told;
use super::devices::Devices;
use super::record::{AES_GCM, STREAM, draft, member_of};
use super::sending::{flush, send, send_sealed};
use crate::data::{Control, ControlKind, Inbound, Notice, Socket};
use crate::keys;
use crate::peers::Peer;
use crate::shared::Shared;

/// Gossip, sessions and paths of this node.
pub(crate) struct DataPlane {
    shared: Arc<Shared>,
    socket: Option<Arc<Socket>>,
    endpoint: Endpoint,
    devices: Devices,
    membership: Option<Membership>,
    mtu: usize,
    peerings: BTreeMap<NodeId, Peering>,
    numbers: BTreeMap<PeerId, NodeId>,
    next_number: u32,
    /// Sessions in which peers send to us, by our index; published as a whole.
    inbound: HashMap<u32, Arc<Inbound>>,
    inbound_changed: bool,
    next_tick: Option<Instant>,
    /// Members to whom no stream could be opened, with the time to try again, in that order.
    resting: VecDeque<(Instant, NodeId)>,
}

/// One member, as far as sessions and ways to it are concerned.
struct Peering {
    peer: Arc<Peer>,
    path: Path,
    /// What it says of itself, and its number at the endpoint; while the gossip vouches for it.
    sealed: Option<(Arc<Record>, PeerId)>,
    told: Told,
    /// Whether both ends take streams, even if none can be opened for the moment.
    takes_streams: bool,
}

impl DataPlane {
    pub(crate) fn new(
        shared: Arc<Shared>,
        socket: Option<Arc<Socket>>,
        endpoint: Endpoint,
        membership: Option<Membership>,
        mtu: usize,
    ) -> Self {
        Self {
            devices: Devices::new(Arc::clone(&shared), socket.clone(), Instant::now()),
            shared,
            socket,
            endpoint,
            membership,
            mtu,
            peerings: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_number: 0,
            inbound: HashMap::new(),
            inbound_changed: false,
            next_tick: None,
            resting: VecDeque::new(),
        }
    }

    /// A node that speaks our gossip takes datagrams there.
    pub(crate) fn join(&mut self, endpoints: &[SocketAddr], now: Instant) {
        let now = self.now(now);
        if let Some(membership) = &mut self.membership {
            for endpoint in endpoints {
                membership.join(now, *endpoint);
            }
        }
    }

    /// Tells the others which multicast groups are wanted here.
    pub(crate) fn want(&mut self, groups: BTreeSet<IpAddr>, now: Instant) {
        let now = self.now(now);
        if let Some(membership) = &mut self.membership {
            let groups = groups.into_iter().collect();
            if let Err(error) = membership.update(now, RecordDraft { groups, ..membership.draft().clone() }) {
                tracing::warn!(%error, "the multicast groups are not told to the others");
            }
        }
    }

    /// Takes leave of the others.
    pub(crate) fn leave(&mut self, now: Instant) {
        let now = self.now(now);
        if let Some(membership) = &mut self.membership {
            membership.leave(now);
        }
        self.transmit();
    }

    /// A member joined; nothing is known of what it can do yet.
    pub(crate) fn admit(&mut self, peer: Arc<Peer>, now: Instant) {
        let path = Path::new(Offers { v0: true, ..Offers::default() }, Way::V0, self.mtu, now);
        peer.link.set_way(Way::V0);
        peer.link.set_largest(self.mtu, false);
        let id = peer.id.clone();
        self.peerings
            .insert(id.clone(), Peering { peer, path, sealed: None, told: Told::default(), takes_streams: false });
        if let Some(record) = self.membership.as_ref().and_then(|membership| membership.get(&id)).cloned() {
            self.seal_with(&record, now);
        }
    }

    /// A member left.
    pub(crate) fn dismiss(&mut self, id: &NodeId) {
        if let Some(peering) = self.peerings.remove(id)
            && let Some((_, number)) = peering.sealed
        {
            self.forget(number);
        }
    }

    /// WireGuard devices that are members through this node.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.devices.peers()
    }

    /// The gossip vouches for a member that was admitted, or it says something new of itself.
    fn seal_with(&mut self, record: &Arc<Record>, now: Instant) {
        let shared = Arc::clone(&self.shared);
        let live = shared.live.load();
        let plane = &live.config.networking.data_plane;
        let Some(peering) = self.peerings.get_mut(&record.id) else {
            return;
        };
        let Some(settings) = self.membership.as_ref().and_then(|own| settings_of(&shared, own.own(), record)) else {
            tracing::warn!(peer = %record.id, "no common cluster secret, so no session");
            return;
        };
        let number = match &peering.sealed {
            Some((_, number)) => *number,
            None => {
                self.next_number += 1;
                PeerId(self.next_number)
            }
        };
        let known = peering.sealed.is_some();
        let taken = if known {
            self.endpoint.update_peer(number, settings)
        } else {
            self.endpoint.insert_peer(number, settings)
        };
        if let Err(error) = taken {
            tracing::warn!(peer = %record.id, %error, "no session with this member");
            return;
        }
        self.numbers.insert(number, record.id.clone());
        peering.sealed = Some((Arc::clone(record), number));
        if peering.peer.link.endpoint().is_none()
            && let Some(endpoint) = record.endpoints.first()
        {
            peering.peer.link.set_endpoint(*endpoint);
        }
        peering.takes_streams = plane.paths.stream && record.capabilities.contains(STREAM);
        let offers = Offers {
            udp: plane.paths.udp && self.socket.is_some(),
            pings: true,
            stream: peering.takes_streams,
            v0: plane.paths.v0,
        };
        if !known {
            peering.path.offer(offers, now);
        }
    }

    /// The gossip no longer vouches for a member, which may yet be reached otherwise.
    fn unseal(&mut self, id: &NodeId, now: Instant) {
        let Some(peering) = self.peerings.get_mut(id) else {
            return;
        };
        if let Some((record, number)) = peering.sealed.take() {
            peering.told = peering.told.after(&record);
            let stream = peering.path.offers().stream;
            peering.path.offer(Offers { udp: false, pings: false, stream, v0: true }, now);
            peering.path.handle_session_lost(now);
            peering.peer.link.set_session(None);
            self.forget(number);
        }
    }

    fn forget(&mut self, number: PeerId) {
        self.endpoint.remove_peer(number);
        self.numbers.remove(&number);
        self.inbound.retain(|_, inbound| inbound.session.peer() != number);
        self.inbound_changed = true;
    }

    /// Takes what a packet thread left to the owner.
    pub(crate) fn handle(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::Confirmed { local_index } => {
                if let Some(inbound) = self.inbound.get(&local_index) {
                    self.endpoint.session_confirmed(inbound.session.peer(), local_index, now);
                } else {
                    self.devices.confirmed(local_index, now);
                }
            }
            Notice::Datagram { from, bytes } => self.datagram(from, &bytes, now),
            Notice::Pong { peer, number, len, at } => {
                if let Some(peering) = self.peerings.get_mut(&peer) {
                    let round_trip = peering.path.handle_pong(number, len, at);
                    let live = self.shared.live.load();
                    if let Some(round_trip) = round_trip.filter(|_| live.config.monitoring.enable_node_packet_metrics) {
                        // Sealed packets carry no time; half of a round trip is how long they take.
                        peering.peer.counters.latency.observe(round_trip / 2);
                    }
                }
            }
            // The owner keeps the groups itself.
            Notice::Snooped(_) => {}
            Notice::TooBig { to, len } => {
                let len = len.saturating_sub(Session::HEADER_LEN + Session::TAG_LEN);
                let at_end = |peering: &&mut Peering| peering.peer.link.endpoint() == Some(to);
                if let Some(peering) = self.peerings.values_mut().find(at_end) {
                    peering.path.handle_too_big(len, now);
                }
            }
            Notice::Wanted(id) => {
                if let Some(peering) = self.peerings.get_mut(&id) {
                    peering.path.handle_wanted(now);
                } else {
                    self.devices.wanted(&id, self.session_now(now));
                }
            }
        }
    }

    fn datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let (gossip_now, session_now) = (self.now(now), self.session_now(now));
        if bytes.first() == Some(&DATAGRAM_TYPE) {
            if let Some(membership) = &mut self.membership
                && let Err(refused) = membership.handle_datagram(gossip_now, from, bytes)
            {
                self.shared.incidents.gossip_refused(refused, from, now);
                tracing::debug!(%from, error = crate::logging::chain(&refused), "gossip refused");
            }
        } else {
            let mut outcome = self.endpoint.handle_datagram(session_now, from, bytes);
            if let Err(Refusal::UnknownIndex | Refusal::WrongMac) = outcome {
                outcome = self.devices.handle_datagram(session_now, from, bytes);
            }
            if let Err(refusal) = outcome {
                tracing::debug!(%from, %refusal, "handshake refused");
            }
        }
    }

    /// Does all that is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let (gossip_now, session_now) = (self.now(now), self.session_now(now));
        if let Some(membership) = &mut self.membership {
            membership.handle_timeout(gossip_now);
        }
        self.endpoint.handle_timeout(session_now);
        self.devices.handle_timeout(session_now);
        self.resume_streams(now);
        if self.next_tick.is_some_and(|at| at <= now) {
            self.next_tick = None;
            for peering in self.peerings.values_mut().filter(|peering| peering.path.is_busy()) {
                let counters = &peering.peer.counters;
                peering.path.tick(counters.tx.packets(), counters.rx.packets(), now);
            }
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let membership = self.membership.as_ref().and_then(Membership::poll_timeout);
        [membership, self.endpoint.poll_timeout(), self.devices.poll_timeout(), self.next_tick, self.next_resumption()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Carries out what gossip, sessions and paths ask for; says whether the node was told anything.
    pub(crate) fn carry_out(&mut self, node: &mut Node, now: Instant) -> bool {
        let told = self.gossip(node, now);
        loop {
            let mut busy = self.sessions(now) | self.devices.sessions(now);
            busy |= self.paths(node, now);
            self.publish();
            self.transmit();
            if !busy {
                break;
            }
        }
        if self.next_tick.is_none() && self.peerings.values().any(|peering| peering.path.is_busy()) {
            self.next_tick = Some(now + TICK);
        }
        told
    }

    /// Shows new sessions to the packet threads, before the peer can learn of them.
    fn publish(&mut self) {
        if std::mem::take(&mut self.inbound_changed) | self.devices.take_changed() {
            let mut all = self.inbound.clone();
            self.devices.add_sessions(&mut all);
            self.shared.sessions.store(Arc::new(all));
        }
    }

    fn gossip(&mut self, node: &mut Node, now: Instant) -> bool {
        let mut told = false;
        while let Some(event) = self.membership.as_mut().and_then(Membership::poll_event) {
            told = true;
            match event {
                tunmesh_membership::Event::Up(record) | tunmesh_membership::Event::Changed(record) => {
                    self.offer_record(&record, node, now);
                }
                tunmesh_membership::Event::Down { id, left } => {
                    node.unvouch(&id, left, now);
                    self.unseal(&id, now);
                    self.offer_waiting(node, now);
                }
                tunmesh_membership::Event::Contested { address, holder, claimant } => {
                    tracing::warn!(%address, holder = %holder.id, claimant = %claimant.id, "two members claim one address");
                }
            }
        }
        told
    }

    fn offer_record(&mut self, record: &Arc<Record>, node: &mut Node, now: Instant) {
        let known = node.member(&record.id).map(|view| view.member);
        let Some((member, vouched)) = member_of(record, known, &node.settings().local) else {
            return tracing::warn!(peer = %record.id, "a member without an address in our network");
        };
        match node.vouch(member, vouched, now) {
            Ok(()) => self.seal_with(record, now),
            Err(refusal) => tracing::warn!(peer = %record.id, %refusal, "a member of the gossip is not accepted"),
        }
    }

    /// Offers records again that the node refused, since somebody left.
    pub(crate) fn offer_waiting(&mut self, node: &mut Node, now: Instant) {
        let Some(membership) = &self.membership else {
            return;
        };
        let waiting: Vec<_> =
            membership.members().filter(|record| node.member(&record.id).is_none()).cloned().collect();
        for record in waiting {
            self.offer_record(&record, node, now);
        }
    }

    fn sessions(&mut self, now: Instant) -> bool {
        let mut any = false;
        let mut bereft = Vec::new();
        while let Some(event) = self.endpoint.poll_event() {
            any = true;
            match event {
                Event::Established { peer: number, session, source, .. } => {
                    if let Some(peering) = peering(&mut self.peerings, &self.numbers, number) {
                        peering.peer.link.set_endpoint(source);
                        let peer = Arc::clone(&peering.peer);
                        self.inbound.insert(session.local_index(), Arc::new(Inbound { peer, session }));
                        self.inbound_changed = true;
                    }
                }
                Event::Sendable { peer: number, session } => {
                    if let Some(peering) = peering(&mut self.peerings, &self.numbers, number) {
                        peering.peer.link.set_session(Some(session));
                        peering.path.handle_session(now);
                    }
                }
                Event::Retired { peer: number, local_index } => {
                    self.inbound.remove(&local_index);
                    self.inbound_changed = true;
                    if let Some(peering) = peering(&mut self.peerings, &self.numbers, number) {
                        let sending = peering.peer.link.session();
                        if sending.as_ref().is_some_and(|session| session.local_index() == local_index) {
                            drop(sending);
                            peering.peer.link.set_session(None);
                            bereft.push(number);
                        }
                    }
                }
                Event::Keepalive { peer: number, session } => {
                    if let Some(peering) = peering(&mut self.peerings, &self.numbers, number) {
                        send_sealed(self.socket.as_deref(), &peering.peer, &session, 0, |_| {});
                    }
                }
                Event::Unreachable { peer: number } => {
                    if let Some(peering) = peering(&mut self.peerings, &self.numbers, number) {
                        peering.path.handle_unreachable();
                    }
                }
            }
        }
        // A session may end just before the one that takes its place comes.
        for number in bereft {
            if let Some(peering) = peering(&mut self.peerings, &self.numbers, number)
                && peering.peer.link.session().is_none()
            {
                peering.path.handle_session_lost(now);
            }
        }
        any
    }

    fn paths(&mut self, node: &mut Node, now: Instant) -> bool {
        let (mut any, session_now) = (false, self.session_now(now));
        for peering in self.peerings.values_mut() {
            while let Some(action) = peering.path.poll_action() {
                any = true;
                let link = &peering.peer.link;
                match action {
                    PathAction::Connect => {
                        if let Some((_, number)) = &peering.sealed {
                            self.endpoint.connect(*number, session_now);
                        }
                    }
                    PathAction::Ping { number, len } => {
                        let len = len.max(Control::LEN);
                        if let Some(session) = link.session().as_ref() {
                            let ping = Control { kind: ControlKind::Ping, number, len };
                            send_sealed(self.socket.as_deref(), &peering.peer, session, len, |out| ping.write(out));
                            session.note_sent(now, false);
                        }
                    }
                    PathAction::Fit { largest, settled } => {
                        if settled && largest != link.largest() {
                            tracing::info!(peer = %peering.peer.id, bytes = largest, "largest packet on the path");
                        }
                        link.set_largest(largest, settled);
                    }
                    PathAction::Take(way) => {
                        if link.way() != way {
                            tracing::info!(peer = %peering.peer.id, way = way.as_str(), "path");
                        }
                        link.set_way(way);
                        if way == Way::V0 {
                            node.handle_session_wanted(&peering.peer.id, now);
                        }
                        streams::requeue(&self.shared, &peering.peer, way, now);
                        flush(&self.shared, self.socket.as_deref(), &peering.peer, way, now);
                    }
                }
            }
        }
        any
    }

    /// Sends what gossip and handshakes have to say.
    fn transmit(&mut self) {
        self.devices.transmit();
        let Some(socket) = &self.socket else {
            return;
        };
        while let Some((to, datagram)) = self.membership.as_mut().and_then(Membership::poll_transmit) {
            send(socket, to, &datagram);
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            match transmit.to {
                Target::Address(to) => send(socket, to, &transmit.datagram),
                Target::Peer(number) => {
                    for to in self.candidates(number) {
                        send(socket, to, &transmit.datagram);
                    }
                }
            }
        }
    }

    /// Where a handshake message to a peer goes: where it was last heard from if there is a session; else to all addresses
    /// at which it may be, of which the first to get it answers.
    fn candidates(&self, number: PeerId) -> Vec<SocketAddr> {
        let Some(peering) = self.numbers.get(&number).and_then(|id| self.peerings.get(id)) else {
            return Vec::new();
        };
        let link = &peering.peer.link;
        let mut found: Vec<SocketAddr> = link.endpoint().into_iter().collect();
        let is_heard = self.endpoint.status(number).is_some_and(|status| status.sendable);
        if (!is_heard || peering.path.way() != Way::Udp)
            && let Some((record, _)) = &peering.sealed
        {
            let seen = self.membership.as_ref().and_then(|membership| membership.seen_at(&record.id));
            for candidate in seen.into_iter().chain(record.endpoints.iter().copied()) {
                if !found.contains(&candidate) {
                    found.push(candidate);
                }
            }
        }
        found
    }

    /// Takes over another configuration.
    pub(crate) fn reconfigure(&mut self, now: Instant) {
        let live = self.shared.live.load_full();
        let auth = &live.config.clustering.auth;
        let gossip_now = self.now(now);
        self.devices.reconfigure(now);
        let Some(membership) = &mut self.membership else {
            return;
        };
        if let Some(identity) = live.tls.identity.clone()
            && let Err(error) = membership.reidentify(gossip_now, Box::new(identity))
        {
            tracing::error!(%error, "the changed certificate is not used for the gossip; an ECDSA P-256 or Ed25519 key makes it short enough");
        }
        let own = membership.own();
        let drafted = draft(&live.config, &self.shared.id, own.public_key, own.endpoints.clone());
        if drafted.addresses != own.addresses {
            let drafted = RecordDraft { groups: own.groups.clone(), ..drafted };
            if let Err(error) = membership.update(gossip_now, drafted) {
                tracing::error!(%error, "others are not told of the WireGuard devices");
            }
        }
        if let Err(error) = membership.rekey(gossip_now, KeyRing::new(&auth.secret, &auth.previous_secrets)) {
            tracing::error!(%error, "the secrets are not used for the gossip");
        }
        let records: Vec<_> = self
            .peerings
            .values()
            .filter_map(|peering| peering.sealed.as_ref().map(|(record, _)| Arc::clone(record)))
            .collect();
        for record in records {
            self.seal_with(&record, now);
        }
    }

    fn now(&self, instant: Instant) -> tunmesh_membership::Now {
        tunmesh_membership::Now { instant, unix: self.shared.clock.wall() }
    }

    fn session_now(&self, instant: Instant) -> tunmesh_session::Now {
        tunmesh_session::Now { instant, unix: self.shared.clock.wall().since_epoch() }
    }
}

fn peering<'a>(
    peerings: &'a mut BTreeMap<NodeId, Peering>,
    numbers: &BTreeMap<PeerId, NodeId>,
    number: PeerId,
) -> Option<&'a mut Peering> {
    peerings.get_mut(numbers.get(&number)?)
}

/// What both ends of a session must agree on follows from the two records alone.
fn settings_of(shared: &Shared, own: &Record, record: &Record) -> Option<PeerSettings> {
    let live = shared.live.load();
    let auth = &live.config.clustering.auth;
    let secrets = std::iter::once(&auth.secret).chain(&auth.previous_secrets);
    let known: Vec<_> = own.secrets.iter().copied().zip(secrets).collect();
    let key = keys::preshared(&known, &record.secrets, (&shared.id, &record.id))?;
    let both = own.capabilities.contains(AES_GCM) && record.capabilities.contains(AES_GCM);
    Some(PeerSettings {
        public_key: PublicKey::from_bytes(record.public_key),
        preshared_key: Some(PresharedKey::from_bytes(key)),
        suite: if both { Suite::AesGcm } else { Suite::ChaChaPoly },
        keepalive: live.config.networking.data_plane.keepalive,
    })
}
