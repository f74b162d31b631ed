use std::time::{Duration, Instant};

use tunmesh_protocol::NodeId;

use super::{FASTEST, Node, Order, SLOWEST, spread};
use crate::agenda::{Timer, backoff, later};

/// Sessions in which we send; those in which others send to us are their business.
///
/// One is opened as soon as a member is known. It is replaced between `session_validity` before `session_max_age` and
/// `session_max_age`, for each member at another point of that window.
impl Node {
    /// Takes note that a session to the member `id` was opened or replaced.
    pub fn handle_session_opened(&mut self, id: &NodeId, now: Instant) {
        let Some(peer) = self.peers.by_id_mut(id) else {
            return;
        };
        peer.session.opening = false;
        peer.session.failures = 0;
        peer.session.opened_at = Some(now);
        self.agenda.set(Timer::Session(id.clone()), later(now, self.replace_after(id)));
    }

    /// Takes note that no session to the member `id` could be opened. Tried again after 1 s, twice that each further time
    /// up to 60 s; while replacing fails the present session stays in use.
    pub fn handle_session_failed(&mut self, id: &NodeId, now: Instant) {
        if let Some(peer) = self.peers.by_id_mut(id).filter(|peer| peer.session.opening) {
            peer.session.opening = false;
            peer.session.failures = peer.session.failures.saturating_add(1);
            let at = later(now, backoff(peer.session.failures, SLOWEST));
            self.agenda.set(Timer::Session(id.clone()), at);
        }
    }

    /// Takes note that the member `id` no longer knows the session: a new one is opened with the cluster token, at once
    /// unless the one before was lost within a minute too.
    ///
    /// To be called once per session, when a request in the present one was answered with a 4xx status.
    pub fn handle_session_lost(&mut self, id: &NodeId, now: Instant) {
        let Some(peer) = self.peers.by_id_mut(id) else {
            return;
        };
        let Some(opened_at) = peer.session.opened_at.take() else {
            return;
        };
        let was_stable = now.saturating_duration_since(opened_at) >= SLOWEST;
        peer.session.losses = if was_stable { 0 } else { peer.session.losses.saturating_add(1) };
        if peer.session.opening {
            return;
        }
        let wait = match peer.session.losses {
            0 | 1 => Duration::ZERO,
            losses => backoff(losses - 1, SLOWEST),
        };
        self.agenda.set(Timer::Session(id.clone()), later(now, wait));
        if wait.is_zero() {
            self.session_due(id, now);
        }
    }

    /// Opens or replaces a session, or gives up an attempt that nobody answered.
    pub(super) fn session_due(&mut self, id: &NodeId, now: Instant) {
        let give_up_at = self.give_up_at(now);
        let max_age = self.settings.session_max_age;
        let Some(peer) = self.peers.by_id_mut(id) else {
            return;
        };
        if peer.session.opening {
            return self.handle_session_failed(id, now);
        }
        peer.session.opened_at =
            peer.session.opened_at.filter(|opened_at| now < later(*opened_at, max_age.max(FASTEST)));
        peer.session.opening = true;
        let rotate = peer.session.opened_at.is_some();
        self.agenda.set(Timer::Session(id.clone()), give_up_at);
        self.orders.push_back(Order::OpenSession { id: id.clone(), rotate });
    }

    /// Applies changed settings to the session to a member.
    pub(super) fn reschedule_session(&mut self, id: &NodeId) {
        let session = self.peers.by_id(id).map(|peer| &peer.session);
        let Some(session) = session.filter(|session| !session.opening && session.failures == 0) else {
            return;
        };
        if let Some(opened_at) = session.opened_at {
            self.agenda.set(Timer::Session(id.clone()), later(opened_at, self.replace_after(id)));
        }
    }

    /// Age at which the session to the member `id` is replaced.
    fn replace_after(&self, id: &NodeId) -> Duration {
        let window = self.settings.session_validity.min(self.settings.session_max_age);
        let first = self.settings.session_max_age - window;
        (first + spread(window, &self.settings.local.id, id.as_str())).max(FASTEST)
    }
}
