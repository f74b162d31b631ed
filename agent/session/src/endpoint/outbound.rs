use super::peer::Attempt;
use super::{Endpoint, Event, Now, PeerId, Target, Transmit};
use crate::mac::{self, LabelKey};
use crate::noise::Initiator;
use crate::wire;

impl Endpoint {
    /// Begins a handshake with the peer `id`: now, or `rekey_timeout` after the last initiation to it.
    pub(super) fn start_attempt(&mut self, id: PeerId, now: Now) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let earliest = peer.initiation_sent.map_or(now.instant, |sent| sent + self.timers.rekey_timeout);
        peer.attempt = Some(Attempt { since: now.instant, retry_at: earliest.max(now.instant), sent: None });
        if earliest <= now.instant {
            self.send_initiation(id, now);
        }
    }

    /// Sends an initiation of the handshake under way; the one before is no longer waited for.
    pub(super) fn send_initiation(&mut self, id: PeerId, now: Now) {
        let retry_at = now.instant + self.timers.rekey_timeout + self.jitter();
        let index = self.allocate_index(id);
        let ephemeral = self.random.key();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let timestamp = peer.next_timestamp(now.unix);
        let remote = peer.settings.public_key;
        let started = Initiator::start(peer.settings.suite, &self.private, &remote, ephemeral, timestamp);
        let Some(attempt) = &mut peer.attempt else { return };
        let before = attempt.index();
        attempt.retry_at = retry_at;
        peer.initiation_sent = Some(now.instant);
        if let Ok((initiator, body)) = started {
            attempt.sent = Some((Box::new(initiator), index));
            let mut datagram = wire::initiation(index, &body);
            let key = LabelKey::mac1(peer.settings.suite, &remote);
            peer.mac1 = Some(mac::sign(&mut datagram, &key, peer.cookie(now.instant, &self.timers)));
            peer.activity.note_sent(now.instant, false);
            self.transmits.push_back(Transmit { to: Target::Peer(id), datagram });
            self.forget_index(before);
        } else {
            self.forget_index(Some(index)); // No secret can be agreed with that key: given up in time.
        }
    }

    /// Ends a handshake that nobody answers.
    pub(super) fn give_up(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.activity.forgive();
        let index = peer.attempt.take().and_then(|attempt| attempt.index());
        self.forget_index(index);
        self.events.push_back(Event::Unreachable { peer: id });
    }
}
