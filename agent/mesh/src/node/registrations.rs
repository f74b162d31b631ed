use std::time::{Duration, Instant};

use tunmesh_protocol::{Member, NodeId, Registration, UnixTime};

use super::meetings::Reason;
use super::{FASTEST, Node, Order, Refusal, Screening};
use crate::agenda::{Timer, backoff, later};

/// Our own registrations to the others, each when it is due.
impl Node {
    /// The registration to send, as a request or as an answer: this node and all it knows.
    pub fn answer(&self, wall: UnixTime) -> Registration {
        Registration {
            local: self.settings.local.clone(),
            remote: self.peers.iter().map(|peer| peer.member.clone()).collect(),
            stamp: i64::try_from(wall.as_secs()).unwrap_or(i64::MAX),
            skipped_remotes: 0,
            further: None,
        }
    }

    /// Takes the outcome of [`Action::Register`](super::Action::Register).
    ///
    /// # Errors
    ///
    /// If the answer is verified but cannot be accepted; the member is then known as before.
    pub fn handle_registered(
        &mut self,
        id: &NodeId,
        outcome: Result<&Registration, RegisterFailure>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(peer) = self.peers.by_id_mut(id) else {
            return Ok(());
        };
        let url = peer.member.listen_url.clone();
        let was_under_way = std::mem::take(&mut peer.registration.under_way);
        match outcome {
            Ok(answer) if answer.local.id == *id => {
                peer.registration.failures = 0;
                self.heard(id, answer.stamp, now);
                self.next_registration(id, now);
                match self.examine(&answer.local)? {
                    Screening { callback: false, .. } => self.store(answer, now),
                    Screening { callback: true, .. } => {
                        self.seek(&answer.local.listen_url, Reason::Moved(id.clone()), now);
                    }
                }
                Ok(())
            }
            Ok(_) => {
                self.registration_failed(id, now);
                self.seek(&url, Reason::Moved(id.clone()), now);
                Err(Refusal::IdMismatch)
            }
            Err(failure) => {
                if was_under_way {
                    self.registration_failed(id, now);
                }
                match failure {
                    RegisterFailure::Denied => self.seek(&url, Reason::Moved(id.clone()), now),
                    RegisterFailure::Failed | RegisterFailure::Unreachable => {}
                }
                Ok(())
            }
        }
    }

    /// Applies changed settings to a member.
    pub(super) fn reschedule(&mut self, id: &NodeId) {
        self.watch(id);
        let Some(peer) = self.peers.by_id(id) else {
            return;
        };
        if peer.vouched.is_none() && !peer.registration.under_way && peer.registration.failures == 0 {
            let interval = self.reregistration_interval(&peer.member);
            let timer = Timer::Register(id.clone());
            match peer.registration.attempted_at {
                Some(attempted_at) => self.agenda.set(timer, later(attempted_at, interval)),
                None => self.agenda.set_earlier(timer, later(peer.heard_at, interval)),
            }
        }
        self.reschedule_session(id);
    }

    /// Registers to a member, or gives up a registration that nobody answered.
    pub(super) fn registration_due(&mut self, id: &NodeId, now: Instant) {
        let give_up_at = self.give_up_at(now);
        let Some(peer) = self.peers.by_id_mut(id) else {
            return;
        };
        if std::mem::take(&mut peer.registration.under_way) {
            return self.registration_failed(id, now);
        }
        peer.registration.under_way = true;
        peer.registration.attempted_at = Some(now);
        self.agenda.set(Timer::Register(id.clone()), give_up_at);
        self.orders.push_back(Order::Register(id.clone()));
    }

    fn next_registration(&mut self, id: &NodeId, now: Instant) {
        if self.is_vouched(id) {
            self.agenda.clear(&Timer::Register(id.clone()));
        } else if let Some(peer) = self.peers.by_id(id) {
            let at = later(now, self.reregistration_interval(&peer.member));
            self.agenda.set(Timer::Register(id.clone()), at);
        }
    }

    fn registration_failed(&mut self, id: &NodeId, now: Instant) {
        if let Some(peer) = self.peers.by_id_mut(id) {
            peer.registration.failures = peer.registration.failures.saturating_add(1);
            let failures = peer.registration.failures;
            if peer.vouched.is_some() {
                return self.agenda.clear(&Timer::Register(id.clone()));
            }
            let at = later(now, backoff(failures, self.slowest_registration(id)));
            self.agenda.set(Timer::Register(id.clone()), at);
        }
    }

    /// Registers to a member soon, at most once per second and less often if that keeps failing.
    pub(super) fn hurry(&mut self, id: &NodeId, now: Instant) {
        let Some(peer) = self.peers.by_id(id).filter(|peer| !peer.registration.under_way) else {
            return;
        };
        let wait = backoff(peer.registration.failures, self.slowest_registration(id));
        let at = peer.registration.attempted_at.map_or(now, |attempted_at| later(attempted_at, wait).max(now));
        self.agenda.set_earlier(Timer::Register(id.clone()), at);
    }

    fn slowest_registration(&self, id: &NodeId) -> Duration {
        let interval = self.peers.by_id(id).map_or(FASTEST, |peer| self.reregistration_interval(&peer.member));
        interval.min(self.settings.groom_interval).max(FASTEST)
    }

    pub(super) fn reregistration_interval(&self, member: &Member) -> Duration {
        self.timers(member).reregistration_interval.max(FASTEST)
    }
}

/// How a registration to a member failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterFailure {
    /// It answered with a 4xx status: it does not know us, or is another node by now.
    Denied,
    /// It answered with another status than success, or with something that could not be verified or read.
    Failed,
    /// It did not answer.
    Unreachable,
}
