use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tunmesh_membership::{Membership, Record};
use tunmesh_mesh::{Offers, Path, Way};
use tunmesh_protocol::NodeId;
use tunmesh_session::{Event, PeerId, Session, Target};

use super::report::Told;
use super::{Core, Peering};
use crate::control::{Control, ControlKind};
use crate::output::{Destination, LinkChange, Note, Output};
use crate::record::{STREAM, agreed};

/// Sessions: one peer at the endpoint for every member that the gossip vouches for.
impl Core {
    /// Takes note that a peer used the session with `local_index` for the first time; `false` if that is none of ours.
    pub fn handle_confirmed(&mut self, local_index: u32, now: Instant) -> bool {
        let Some(number) = self.inbound.get(&local_index) else {
            return false;
        };
        self.endpoint.session_confirmed(*number, local_index, now);
        true
    }

    /// A member joined; nothing is known of what it can do yet.
    pub(super) fn admit(&mut self, id: &NodeId, now: Instant) {
        let mtu = self.settings.mtu;
        let path = Path::new(Offers { v0: true, ..Offers::default() }, Way::V0, mtu, now);
        let peering = Peering { path, sealed: None, sending: None, told: Told::default(), takes_streams: false };
        self.peerings.insert(id.clone(), peering);
        self.link(id, LinkChange::Largest { bytes: mtu, settled: false });
        if let Some(record) = self.membership.as_ref().and_then(|membership| membership.get(id)).cloned() {
            self.offer(&record, now);
        }
    }

    /// A member left.
    pub(super) fn dismiss(&mut self, id: &NodeId) {
        self.touched.remove(id);
        self.busy.remove(id);
        if let Some((_, number)) = self.peerings.remove(id).and_then(|peering| peering.sealed) {
            self.forget(number);
        }
    }

    /// The gossip vouches for a member that was admitted, or it says something new of itself.
    pub(super) fn seal_with(&mut self, record: &Arc<Record>, now: Instant) {
        let id = &record.id;
        let (Some(peering), Some(membership)) = (self.peerings.get(id), &self.membership) else {
            return;
        };
        let Some(settings) = agreed(&self.settings, membership.own(), record) else {
            return self.note(Note::NoCommonSecret(id.clone()));
        };
        let known = peering.sealed.as_ref().map(|(_, number)| *number);
        let (number, taken) = match known {
            Some(number) => (number, self.endpoint.update_peer(number, settings)),
            None => {
                self.next_number += 1;
                let number = PeerId(self.next_number);
                (number, self.endpoint.insert_peer(number, settings))
            }
        };
        if let Err(error) = taken {
            return self.note(Note::NoSession(id.clone(), error));
        }
        self.numbers.insert(number, id.clone());
        if let Some(endpoint) = record.endpoints.first() {
            self.link(id, LinkChange::Advertised(*endpoint));
        }
        let takes_streams = self.settings.paths.stream && record.capabilities.contains(STREAM);
        let Some(peering) = self.touch(id) else {
            return;
        };
        peering.sealed = Some((Arc::clone(record), number));
        peering.takes_streams = takes_streams;
        if known.is_none() {
            self.offer_ways(id, now);
        }
    }

    /// The gossip no longer vouches for a member, which may yet be reached otherwise.
    pub(super) fn unseal(&mut self, id: &NodeId, now: Instant) {
        let Some(peering) = self.touch(id) else {
            return;
        };
        if let Some((record, number)) = peering.sealed.take() {
            peering.told = peering.told.after(&record);
            peering.sending = None;
            self.offer_ways(id, now);
            if let Some(peering) = self.touch(id) {
                peering.path.handle_session_lost(now);
            }
            self.link(id, LinkChange::Session(None));
            self.forget(number);
        }
    }

    fn forget(&mut self, number: PeerId) {
        // What it had of sessions is told as retired.
        self.endpoint.remove_peer(number);
        self.numbers.remove(&number);
    }

    pub(super) fn heed_sessions(&mut self, now: Instant) -> bool {
        let mut any = false;
        let mut bereft = Vec::new();
        while let Some(event) = self.endpoint.poll_event() {
            any = true;
            match event {
                Event::Established { peer: number, session, source, .. } => {
                    if let Some(id) = self.numbers.get(&number).cloned() {
                        self.inbound.insert(session.local_index(), number);
                        self.link(&id, LinkChange::Heard(source));
                        self.outputs.push_back(Output::SessionAdded { peer: id, session });
                    }
                }
                Event::Sendable { peer: number, session } => {
                    let Some(id) = self.numbers.get(&number).cloned() else { continue };
                    self.link(&id, LinkChange::Session(Some(Arc::clone(&session))));
                    if let Some(peering) = self.touch(&id) {
                        peering.sending = Some(session);
                        peering.path.handle_session(now);
                    }
                }
                Event::Retired { peer: number, local_index } => {
                    self.inbound.remove(&local_index);
                    self.outputs.push_back(Output::SessionRemoved { local_index });
                    let Some(id) = self.numbers.get(&number).cloned() else { continue };
                    let is_sending = |session: &mut Arc<Session>| session.local_index() == local_index;
                    let sending = self.peerings.get_mut(&id).and_then(|peering| peering.sending.take_if(is_sending));
                    if sending.is_some() {
                        self.link(&id, LinkChange::Session(None));
                        bereft.push(id);
                    }
                }
                Event::Keepalive { peer: number, session } => {
                    if let Some(id) = self.numbers.get(&number).cloned() {
                        self.send_sealed(id, &session, 0, |_| {});
                    }
                }
                Event::Unreachable { peer: number } => {
                    let id = self.numbers.get(&number).cloned();
                    if let Some(peering) = id.and_then(|id| self.touch(&id)) {
                        peering.path.handle_unreachable();
                    }
                }
            }
        }
        // A session may end just before the one that takes its place comes.
        for id in bereft {
            if let Some(peering) = self.touch(&id).filter(|peering| peering.sending.is_none()) {
                peering.path.handle_session_lost(now);
            }
        }
        any
    }

    /// Sends what gossip and handshakes have to say.
    pub(super) fn transmit(&mut self) {
        while let Some((to, datagram)) = self.membership.as_mut().and_then(Membership::poll_transmit) {
            self.outputs.push_back(Output::Transmit { to: Destination::Address(to), datagram });
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let to = match transmit.to {
                Target::Address(to) => Some(Destination::Address(to)),
                Target::Peer(number) => {
                    self.numbers.get(&number).map(|id| Destination::Peer { id: id.clone(), also: self.candidates(id) })
                }
            };
            self.outputs.extend(to.map(|to| Output::Transmit { to, datagram: transmit.datagram }));
        }
    }

    /// Where a handshake message to a peer goes beside where it was last heard from: nowhere if packets to it go in
    /// datagrams; else to all addresses at which it may be.
    fn candidates(&self, id: &NodeId) -> Vec<SocketAddr> {
        let Some(peering) = self.peerings.get(id) else {
            return Vec::new();
        };
        let Some((record, number)) = &peering.sealed else {
            return Vec::new();
        };
        let is_heard = self.endpoint.status(*number).is_some_and(|status| status.sendable);
        if is_heard && peering.path.way() == Way::Udp {
            return Vec::new();
        }
        let seen = self.membership.as_ref().and_then(|membership| membership.seen_at(id));
        let mut found: Vec<SocketAddr> = Vec::new();
        for candidate in seen.into_iter().chain(record.endpoints.iter().copied()) {
            if !found.contains(&candidate) {
                found.push(candidate);
            }
        }
        found
    }

    pub(super) fn ping(&mut self, id: NodeId, number: u64, len: usize, now: Instant) {
        let Some(session) = self.peerings.get(&id).and_then(|peering| peering.sending.clone()) else {
            return;
        };
        let len = len.max(Control::LEN);
        let ping = Control { kind: ControlKind::Ping, number, len };
        self.send_sealed(id, &session, len, |out| ping.write(out));
        session.note_sent(now, false);
    }

    /// Seals a message of `len` bytes to a peer.
    fn send_sealed(&mut self, id: NodeId, session: &Session, len: usize, write: impl FnOnce(&mut [u8])) {
        let Some(counter) = session.reserve(1) else {
            return;
        };
        let mut datagram = vec![0; Session::HEADER_LEN + len + Session::TAG_LEN];
        write(&mut datagram[Session::HEADER_LEN..Session::HEADER_LEN + len]);
        session.seal(counter, 0, &mut datagram);
        self.outputs.push_back(Output::Transmit { to: Destination::Peer { id, also: Vec::new() }, datagram });
    }

    pub(super) fn link(&mut self, id: &NodeId, change: LinkChange) {
        self.outputs.push_back(Output::Link(id.clone(), change));
    }
}
