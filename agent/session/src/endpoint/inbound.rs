use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::peer::Slot;
use super::{Endpoint, Event, Now, PeerId, Refusal, Role, Target, Transmit};
use crate::cookie;
use crate::mac::{self, LabelKey};
use crate::noise::{Responder, TransportKeys};
use crate::session::Session;
use crate::suite::Suite;
use crate::wire::{self, INITIATION_BODY, MessageType, RESPONSE_BODY};

impl Endpoint {
    /// Takes a datagram of type 1 to 3 that came from `source`; returns whose it is, authenticated.
    ///
    /// # Errors
    /// [`Refusal`]. There is nothing to be done about it; an answer, if any, is a cookie.
    pub fn handle_datagram(&mut self, now: Now, source: SocketAddr, datagram: &[u8]) -> Result<PeerId, Refusal> {
        let handled = match wire::message_type(datagram) {
            Some(MessageType::Initiation) => self.handle_initiation(now, source, datagram),
            Some(MessageType::Response) => self.handle_response(now.instant, source, datagram),
            Some(MessageType::Cookie) => self.handle_cookie(now.instant, datagram),
            Some(MessageType::Transport) | None => Err(Refusal::Malformed),
        };
        if let Ok(id) = handled {
            self.schedule(id, now.instant);
        }
        handled
    }

    fn handle_initiation(&mut self, now: Now, source: SocketAddr, datagram: &[u8]) -> Result<PeerId, Refusal> {
        let (remote_index, suite) = self.admit(now.instant, source, datagram)?;
        let body = datagram.get(INITIATION_BODY).and_then(|body| body.try_into().ok()).ok_or(Refusal::Malformed)?;
        let responder = Responder::read(suite, &self.private, self.random.key(), body).map_err(|_| Refusal::Forged)?;
        let id = *self.by_key.get(&responder.remote).ok_or(Refusal::UnknownPeer)?;
        let peer = self.peers.get_mut(&id).ok_or(Refusal::UnknownPeer)?;
        if peer.settings.suite != suite {
            return Err(Refusal::WrongSuite);
        }
        if responder.timestamp <= peer.stamps.received {
            return Err(Refusal::Replayed);
        }
        if peer.initiation_received.is_some_and(|last| now.instant < last + self.timers.initiation_interval) {
            return Err(Refusal::PeerTooFast);
        }
        let timestamp = responder.timestamp;
        let (keys, body) = responder.respond(peer.settings.preshared_key.as_ref()).map_err(|_| Refusal::Forged)?;
        peer.stamps.received = timestamp;
        peer.initiation_received = Some(now.instant);
        peer.activity.note_received(now.instant, false);

        if peer.next.as_ref().is_some_and(|next| next.session.is_confirmed()) {
            self.promote(id, now.instant);
        }
        let local_index = self.allocate_index(id);
        let mut datagram = wire::response(local_index, remote_index, &body);
        let peer = self.peers.get_mut(&id).ok_or(Refusal::UnknownPeer)?;
        let key = LabelKey::mac1(suite, &peer.settings.public_key);
        peer.mac1 = Some(mac::sign(&mut datagram, &key, peer.cookie(now.instant, &self.timers)));
        peer.activity.note_sent(now.instant, false);
        if let Some(unused) = peer.next.take() {
            self.retire(id, &unused);
        }
        self.transmits.push_back(Transmit { to: Target::Address(source), datagram });
        let slot = self.establish(id, Role::Responder, (local_index, remote_index), &keys, source, now.instant);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.next = slot;
        }
        Ok(id)
    }

    fn handle_response(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) -> Result<PeerId, Refusal> {
        let (remote_index, suite) = self.admit(now, source, datagram)?;
        let local_index = wire::receiver_index(datagram).ok_or(Refusal::Malformed)?;
        let body = datagram.get(RESPONSE_BODY).and_then(|body| body.try_into().ok()).ok_or(Refusal::Malformed)?;
        let id = *self.indices.get(&local_index).ok_or(Refusal::UnknownIndex)?;
        let peer = self.peers.get_mut(&id).ok_or(Refusal::UnknownIndex)?;
        if peer.settings.suite != suite {
            return Err(Refusal::WrongSuite);
        }
        let sent = peer.attempt.as_mut().and_then(|attempt| attempt.sent.as_mut());
        let (initiator, _) = sent.filter(|(_, index)| *index == local_index).ok_or(Refusal::UnknownIndex)?;
        let keys = initiator.finish(peer.settings.preshared_key.as_ref(), body).map_err(|_| Refusal::Forged)?;
        // Its index lives on as that of the session.
        peer.handshake_done(now);
        peer.activity.note_received(now, false);

        // What the peer asked for meanwhile is newer than what was used before.
        let [before, retired] = match peer.next.take() {
            Some(next) => [Some(next), peer.current.take()],
            None => [peer.current.take(), None],
        };
        let retired = [std::mem::replace(&mut peer.previous, before), retired];
        for slot in retired.into_iter().flatten() {
            self.retire(id, &slot);
        }
        let slot = self.establish(id, Role::Initiator, (local_index, remote_index), &keys, source, now);
        if let (Some(peer), Some(slot)) = (self.peers.get_mut(&id), slot) {
            self.events.push_back(Event::Sendable { peer: id, session: Arc::clone(&slot.session) });
            peer.current = Some(slot);
        }
        // The peer sends on the session once it is used.
        self.keep_alive(id, now);
        Ok(id)
    }

    fn handle_cookie(&mut self, now: Instant, datagram: &[u8]) -> Result<PeerId, Refusal> {
        let index = wire::receiver_index(datagram).ok_or(Refusal::Malformed)?;
        let id = *self.indices.get(&index).ok_or(Refusal::UnknownIndex)?;
        let peer = self.peers.get_mut(&id).ok_or(Refusal::UnknownIndex)?;
        let key = LabelKey::cookie(&peer.settings.public_key);
        let mac1 = peer.mac1.ok_or(Refusal::UnknownIndex)?;
        let cookie = cookie::open(datagram, &mac1, &key).ok_or(Refusal::Forged)?;
        peer.cookie = Some((cookie, now));
        Ok(id)
    }

    /// Whether to calculate with an initiation or a response: its mac1 is good and, while there are too many, its mac2;
    /// returns its sender index and suite.
    fn admit(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) -> Result<(u32, Suite), Refusal> {
        let index = wire::sender_index(datagram).ok_or(Refusal::Malformed)?;
        let suite = self.mac1_keys.iter().find(|(_, key)| mac::is_mac1_valid(datagram, key)).map(|(suite, _)| *suite);
        let suite = suite.ok_or(Refusal::WrongMac)?;
        if self.load.is_over(now) {
            let lifetime = self.timers.cookie_refresh_time;
            let cookie = self.cookie_secret.cookie(source, now, lifetime, &mut self.random);
            if !mac::is_mac2_valid(datagram, &cookie) {
                let mac1 = mac::mac1_of(datagram);
                let datagram = cookie::reply(index, &cookie, &mac1, &self.cookie_key, &mut self.random);
                self.transmits.push_back(Transmit { to: Target::Address(source), datagram });
                return Err(Refusal::CookieRequired);
            }
            if !self.load.admits(source) {
                return Err(Refusal::SourceTooFast);
            }
        }
        Ok((index, suite))
    }

    /// Makes a session and tells of it.
    fn establish(
        &mut self,
        id: PeerId,
        role: Role,
        indices: (u32, u32),
        keys: &TransportKeys,
        source: SocketAddr,
        now: Instant,
    ) -> Option<Slot> {
        let rekey_at = now + self.rekey_after();
        let peer = self.peers.get(&id)?;
        let session = Session::new(id, peer.settings.suite, role, indices, keys, Arc::clone(&peer.activity));
        let session = Arc::new(session);
        self.events.push_back(Event::Established { peer: id, session: Arc::clone(&session), role, source });
        Some(Slot { session, born: now, rekey_at })
    }
}
