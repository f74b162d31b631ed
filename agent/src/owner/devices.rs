//! WireGuard devices that are members through this node: a second set of sessions beside those between nodes.
//!
//! A device knows nothing of gossip, pings or the control protocol. Packets to it go in the session that it made; where it
//! is, it tells by sending.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tunmesh_mesh::Way;
use tunmesh_protocol::config::{Networking, WireGuardPeer};
use tunmesh_protocol::{Ipv4Cidr, Member, NodeId};
use tunmesh_session::{Endpoint, Event, Now, PeerId, PeerSettings, PresharedKey, Refusal, Suite, Target};

use super::sending::{flush, send, send_sealed};
use crate::data::{Inbound, Socket};
use crate::keys;
use crate::peers::Peer;
use crate::requests::DeviceReport;
use crate::shared::{Live, Sessions, Shared};
use crate::wireguard::{DeviceKeys, Keys, id, mtu};

/// The devices of this node and the sessions with them.
pub(super) struct Devices {
    shared: Arc<Shared>,
    socket: Option<Arc<Socket>>,
    /// What the node is to its devices, once for every cluster secret in force.
    faces: Vec<Face>,
    devices: BTreeMap<PeerId, Device>,
    next_number: u32,
    /// Whether the packet threads are still to be shown other sessions.
    changed: bool,
}

/// The node as devices know it that were set up with one cluster secret.
struct Face {
    endpoint: Endpoint,
    /// Sessions in which devices send to us, by our index.
    inbound: HashMap<u32, Arc<Inbound>>,
}

struct Device {
    peer: Arc<Peer>,
    /// When packets that wait for a session are dropped.
    give_up_at: Option<Instant>,
}

impl Devices {
    pub(super) fn new(shared: Arc<Shared>, socket: Option<Arc<Socket>>, now: Instant) -> Self {
        let (faces, devices) = (Vec::new(), BTreeMap::new());
        let mut new = Self { shared, socket, faces, devices, next_number: 0, changed: false };
        new.reconfigure(now);
        new
    }

    /// Every device, whether it is there or not.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.devices.values().map(|device| &device.peer)
    }

    /// The devices as they are now.
    pub(super) fn report(&self) -> impl Iterator<Item = DeviceReport> {
        self.devices.iter().map(|(number, device)| DeviceReport {
            peer: Arc::clone(&device.peer),
            last_handshake: self.faces.iter().filter_map(|face| face.endpoint.status(*number)?.last_handshake).max(),
        })
    }

    /// Adds the sessions in which devices send to us. Of two with one index, the one that stands there stays: the device
    /// of the other hears nothing, and makes another.
    pub(super) fn add_sessions(&self, all: &mut Sessions) {
        for (index, inbound) in self.faces.iter().flat_map(|face| &face.inbound) {
            all.entry(*index).or_insert_with(|| Arc::clone(inbound));
        }
    }

    /// Whether other sessions are to be shown to the packet threads; true once per change.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Takes over the devices and keys of the configuration.
    pub(super) fn reconfigure(&mut self, now: Instant) {
        let live = self.shared.live.load_full();
        let networking = &live.config.networking;
        let named: BTreeMap<_, _> =
            networking.wireguard_peers.iter().map(|(name, peer)| (id(name, peer.address), (name, peer))).collect();
        let gone: Vec<_> = self
            .devices
            .iter()
            .filter(|(_, device)| !named.contains_key(&device.peer.id))
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            self.faces.iter_mut().for_each(|face| face.forget(number));
            if let Some(device) = self.devices.remove(&number) {
                tracing::info!(device = device.peer.name, "device removed");
                device.peer.link.set_session(None);
            }
        }
        self.reconfigure_faces(&live.wireguard, now);
        for (id, (name, peer)) in named {
            let known = self.devices.iter().find(|(_, device)| device.peer.id == id).map(|(number, _)| *number);
            let number = known.unwrap_or_else(|| self.insert(id, name, peer, &live));
            for (face, keys) in self.faces.iter_mut().zip(&live.wireguard) {
                let Some(keys) = keys.devices.get(name) else { continue };
                if let Err(error) = face.admit(number, keys) {
                    tracing::warn!(device = name, %error, "no session with this device");
                }
            }
        }
        self.changed = true;
    }

    /// One face for each of the sets of keys, in their order; those that stay keep their sessions.
    fn reconfigure_faces(&mut self, keys: &[Keys], now: Instant) {
        let mut before = std::mem::take(&mut self.faces);
        for keys in keys {
            let public = keys.node.public_key();
            let face = match before.iter().position(|face| face.endpoint.public_key() == public) {
                Some(at) => before.swap_remove(at),
                None => match keys::random() {
                    Ok(seed) => Face { endpoint: Endpoint::new(keys.node.clone(), now, seed), inbound: HashMap::new() },
                    Err(error) => {
                        tracing::error!(%error, "WireGuard devices are not served");
                        before.append(&mut self.faces);
                        break;
                    }
                },
            };
            self.faces.push(face);
        }
        for mut face in before {
            for (number, device) in &self.devices {
                face.forget(*number);
                device.drop_session_unless(|index| self.faces.iter().any(|face| face.inbound.contains_key(&index)));
            }
        }
    }

    fn insert(&mut self, id: NodeId, name: &str, peer: &WireGuardPeer, live: &Live) -> PeerId {
        self.next_number += 1;
        let number = PeerId(self.next_number);
        let member = member(id, peer, live);
        let peer = Arc::new(Peer::device(name.to_owned(), member));
        peer.link.set_largest(usize::from(mtu(live.config.networking.mtu)), true);
        self.devices.insert(number, Device { peer, give_up_at: None });
        number
    }

    /// The device uses the session that we answered.
    pub(super) fn confirmed(&mut self, local_index: u32, now: Instant) {
        for face in &mut self.faces {
            if let Some(inbound) = face.inbound.get(&local_index) {
                face.endpoint.session_confirmed(inbound.session.peer(), local_index, now);
            }
        }
    }

    /// Packets wait for this device, if it is one.
    pub(super) fn wanted(&mut self, id: &NodeId, now: Now) {
        let Some((number, device)) = self.devices.iter_mut().find(|(_, device)| device.peer.id == *id) else {
            return;
        };
        if device.peer.link.session().is_some() {
            // It came between the packet and its notice.
            device.peer.link.set_way(Way::Udp);
            return flush(&self.shared, self.socket.as_deref(), &device.peer, Way::Udp, now.instant);
        }
        device.give_up_at.get_or_insert(now.instant + PATIENCE);
        if device.peer.link.endpoint().is_some() {
            self.faces.iter_mut().for_each(|face| face.endpoint.connect(*number, now));
        }
    }

    /// Takes a handshake message that is for none of the sessions between nodes.
    pub(super) fn handle_datagram(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) -> Result<PeerId, Refusal> {
        let mut outcome = Err(Refusal::WrongMac);
        for face in &mut self.faces {
            outcome = face.endpoint.handle_datagram(now, from, bytes);
            if !matches!(outcome, Err(Refusal::UnknownIndex | Refusal::WrongMac)) {
                break;
            }
        }
        outcome
    }

    /// Does all that is due.
    pub(super) fn handle_timeout(&mut self, now: Now) {
        self.faces.iter_mut().for_each(|face| face.endpoint.handle_timeout(now));
        for device in self.devices.values_mut() {
            if device.give_up_at.take_if(|at| *at <= now.instant).is_some() {
                device.peer.link.ask_again();
                flush(&self.shared, self.socket.as_deref(), &device.peer, Way::Unknown, now.instant);
            }
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.faces.iter().filter_map(|face| face.endpoint.poll_timeout());
        sessions.chain(self.devices.values().filter_map(|device| device.give_up_at)).min()
    }

    /// Heeds what became of sessions; says whether anything did.
    pub(super) fn sessions(&mut self, now: Instant) -> bool {
        let mut any = false;
        for face in &mut self.faces {
            while let Some(event) = face.endpoint.poll_event() {
                any = true;
                let (Event::Established { peer, .. }
                | Event::Keepalive { peer, .. }
                | Event::Retired { peer, .. }
                | Event::Sendable { peer, .. }
                | Event::Unreachable { peer }) = &event;
                let Some(device) = self.devices.get_mut(peer) else { continue };
                let (link, socket) = (&device.peer.link, self.socket.as_deref());
                match event {
                    Event::Established { session, source, .. } => {
                        link.set_endpoint(source);
                        let peer = Arc::clone(&device.peer);
                        face.inbound.insert(session.local_index(), Arc::new(Inbound { peer, session }));
                        self.changed = true;
                    }
                    Event::Keepalive { session, .. } => {
                        let _lost = send_sealed(socket, &device.peer, &session, 0, |_| {});
                    }
                    Event::Retired { local_index, .. } => {
                        face.inbound.remove(&local_index);
                        self.changed = true;
                        device.drop_session_unless(|index| index != local_index);
                    }
                    Event::Sendable { session, .. } => {
                        if link.session().is_none() {
                            tracing::info!(device = device.peer.name, "device connected");
                        }
                        device.give_up_at = None;
                        link.set_session(Some(session));
                        link.set_way(Way::Udp);
                        flush(&self.shared, socket, &device.peer, Way::Udp, now);
                    }
                    // Whoever waited for it has given up before.
                    Event::Unreachable { .. } => {}
                }
            }
        }
        any
    }

    /// Sends what handshakes have to say.
    pub(super) fn transmit(&mut self) {
        let Some(socket) = &self.socket else {
            return;
        };
        for face in &mut self.faces {
            while let Some(transmit) = face.endpoint.poll_transmit() {
                let to = match transmit.to {
                    Target::Address(to) => Some(to),
                    Target::Peer(number) => self.devices.get(&number).and_then(|device| device.peer.link.endpoint()),
                };
                if let Some(to) = to {
                    send(socket, to, &transmit.datagram);
                }
            }
        }
    }
}

impl Face {
    fn admit(&mut self, number: PeerId, keys: &DeviceKeys) -> Result<(), tunmesh_session::PeerError> {
        let settings = PeerSettings {
            public_key: keys.public,
            preshared_key: Some(PresharedKey::from_bytes(keys.preshared)),
            suite: Suite::ChaChaPoly,
            // The device keeps its address translators awake, as only it knows whether there are any.
            keepalive: None,
        };
        match self.endpoint.status(number) {
            Some(_) => self.endpoint.update_peer(number, settings),
            None => self.endpoint.insert_peer(number, settings),
        }
    }

    fn forget(&mut self, number: PeerId) {
        self.endpoint.remove_peer(number);
        self.inbound.retain(|_, inbound| inbound.session.peer() != number);
    }
}

impl Device {
    /// Ends sending in the present session unless its index passes; the next packet asks for another.
    fn drop_session_unless(&self, stays: impl FnOnce(u32) -> bool) {
        let link = &self.peer.link;
        let index = link.session().as_ref().map(|session| session.local_index());
        if index.is_some_and(|index| !stays(index)) {
            link.set_session(None);
            link.set_way(Way::Unknown);
        }
    }
}

/// A device as a member: it is reached through this node.
fn member(id: NodeId, peer: &WireGuardPeer, live: &Live) -> Member {
    let Networking { ipv4, .. } = &live.config.networking;
    let address = Ipv4Cidr::new(peer.address, ipv4.node_address_cidr.prefix_len());
    Member {
        id,
        listen_url: live.config.clustering.control_api_advertise_url.clone(),
        network: ipv4.network_cidr,
        address: address.unwrap_or(ipv4.node_address_cidr),
    }
}

/// How long packets wait for a device that is not there.
const PATIENCE: Duration = Duration::from_secs(5);
