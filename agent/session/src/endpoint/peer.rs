use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{PeerSettings, PeerStatus, Role};
use crate::mac::Mac;
use crate::noise::Initiator;
use crate::session::{Activity, Session};
use crate::tai64n::Tai64n;
use crate::timers::Timers;

/// All that is known of one peer.
pub(super) struct Peer {
    pub(super) settings: PeerSettings,
    /// The session before the current one.
    pub(super) previous: Option<Slot>,
    /// The session to send on.
    pub(super) current: Option<Slot>,
    /// The session that the peer asked for last and has not used yet.
    pub(super) next: Option<Slot>,
    /// The handshake of ours that is under way.
    pub(super) attempt: Option<Attempt>,
    pub(super) activity: Arc<Activity>,
    pub(super) stamps: Stamps,
    /// When our last initiation was sent.
    pub(super) initiation_sent: Option<Instant>,
    /// When the last initiation of the peer was heeded.
    pub(super) initiation_received: Option<Instant>,
    /// mac1 of our last initiation or response, which a cookie reply belongs to.
    pub(super) mac1: Option<Mac>,
    /// The cookie that the peer gave us, and when.
    pub(super) cookie: Option<(Mac, Instant)>,
    pub(super) last_handshake: Option<Instant>,
    /// When the endpoint looks at it next.
    pub(super) deadline: Option<Instant>,
}

/// What outlives a peer that is removed, so that nothing captured counts once it is back.
#[derive(Clone, Copy, Default)]
pub(super) struct Stamps {
    /// The timestamp of our last initiation.
    pub(super) sent: Tai64n,
    /// The timestamp of the last initiation of the peer that was heeded.
    pub(super) received: Tai64n,
}

/// A session and when it is replaced.
pub(super) struct Slot {
    pub(super) session: Arc<Session>,
    pub(super) born: Instant,
    pub(super) rekey_at: Instant,
}

/// A handshake of ours: initiations until one is answered.
pub(super) struct Attempt {
    pub(super) since: Instant,
    /// When to send the next initiation.
    pub(super) retry_at: Instant,
    /// The last initiation sent and its index; boxed, for it is large and most of the time not there.
    pub(super) sent: Option<(Box<Initiator>, u32)>,
}

impl Attempt {
    pub(super) fn index(&self) -> Option<u32> {
        self.sent.as_ref().map(|(_, index)| *index)
    }
}

/// What to do for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// End sessions of `reject_after_time`.
    Expire,
    /// End a handshake that nobody answers.
    GiveUp,
    /// Send an empty message.
    Keepalive,
    /// Send on the session that the peer uses.
    Promote,
    /// Send an initiation.
    Retry,
    /// Begin a handshake.
    Start,
}

impl Peer {
    /// A peer of which nothing is known but the `stamps` of its and our last initiations.
    pub(super) fn new(settings: PeerSettings, stamps: Stamps, epoch: Instant) -> Self {
        Self {
            settings,
            previous: None,
            current: None,
            next: None,
            attempt: None,
            activity: Arc::new(Activity::new(epoch)),
            stamps,
            initiation_sent: None,
            initiation_received: None,
            mac1: None,
            cookie: None,
            last_handshake: None,
            deadline: None,
        }
    }

    pub(super) fn status(&self) -> PeerStatus {
        PeerStatus { last_handshake: self.last_handshake, sendable: self.current.is_some() }
    }

    /// What is due by `now`, if anything. Doing it makes it no longer due.
    pub(super) fn due(&self, now: Instant, timers: &Timers) -> Option<Due> {
        let mut due = None;
        self.each_timer(now, timers, |at, what| {
            if due.is_none() && at <= now {
                due = what;
            }
        });
        due
    }

    /// When something may be due next; nothing is due at `now`. What packet threads do meanwhile makes nothing due earlier.
    pub(super) fn next_look(&self, now: Instant, timers: &Timers) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        self.each_timer(now, timers, |at, _| next = Some(next.map_or(at, |next| next.min(at))));
        next
    }

    /// Tells each time that matters and what is due then; nothing is where packet threads may have made something due by
    /// then, so that it is time to look again. Such a time is after `now`.
    fn each_timer(&self, now: Instant, timers: &Timers, mut tell: impl FnMut(Instant, Option<Due>)) {
        for slot in [&self.previous, &self.current, &self.next].into_iter().flatten() {
            tell(slot.born + timers.reject_after_time, Some(Due::Expire));
        }
        if let Some(next) = &self.next {
            let confirmed = next.session.is_confirmed();
            tell(if confirmed { now } else { now + timers.look() }, confirmed.then_some(Due::Promote));
        }
        if let Some(attempt) = &self.attempt {
            let given_up = attempt.since + timers.rekey_attempt_time;
            let what = if attempt.retry_at >= given_up { Due::GiveUp } else { Due::Retry };
            tell(attempt.retry_at.min(given_up), Some(what));
        }
        let sent = self.activity.sent();
        match (&self.current, self.settings.keepalive.map(|keepalive| keepalive.max(SHORTEST_KEEPALIVE))) {
            (Some(current), keepalive) => {
                if self.attempt.is_none() {
                    let (at, needed) = self.rekey(current, now, timers);
                    tell(at, needed.then_some(Due::Start));
                    let silent = self.activity.unanswered();
                    tell(silent.unwrap_or(now) + timers.unanswered(), silent.map(|_| Due::Start));
                }
                let waiting = self.activity.unacknowledged();
                tell(waiting.unwrap_or(now) + timers.keepalive_timeout, waiting.map(|_| Due::Keepalive));
                if let Some(keepalive) = keepalive {
                    tell(sent.unwrap_or(current.born) + keepalive, Some(Due::Keepalive));
                }
            }
            (None, Some(keepalive)) if self.attempt.is_none() => {
                tell(sent.map_or(now, |sent| sent + keepalive), Some(Due::Start));
            }
            (None, _) => {}
        }
    }

    /// Whether `current` is to be replaced, and if not, when to look again.
    fn rekey(&self, current: &Slot, now: Instant, timers: &Timers) -> (Instant, bool) {
        let session = &current.session;
        let look_again = (now + timers.look(), false);
        // The peer has begun to replace it.
        if self.next.as_ref().is_some_and(|next| now < next.born + timers.rekey_timeout) {
            return look_again;
        }
        if session.is_worn() {
            return (now, true);
        }
        if session.role() == Role::Responder {
            return (current.born + timers.reject_after_time, false);
        }
        if now < current.rekey_at {
            return (current.rekey_at, false);
        }
        let sent = self.activity.sent() >= Some(current.rekey_at);
        let received = self.activity.received() >= Some(current.born + timers.rekey_on_receive());
        if sent || received { (now, true) } else { look_again }
    }

    /// Takes note that a handshake is done; returns the index of the one of ours that ends with it.
    pub(super) fn handshake_done(&mut self, now: Instant) -> Option<u32> {
        self.last_handshake = Some(now);
        self.attempt.take().and_then(|attempt| attempt.index())
    }

    /// Takes the sessions out that are `reject_after_time` old.
    pub(super) fn take_expired(&mut self, now: Instant, timers: &Timers) -> Vec<Slot> {
        let is_old = |slot: &mut Slot| now >= slot.born + timers.reject_after_time;
        [&mut self.previous, &mut self.current, &mut self.next]
            .into_iter()
            .filter_map(|place| place.take_if(is_old))
            .collect()
    }

    /// The timestamp for an initiation now: later than that of any before, even if the clock was set back.
    pub(super) fn next_timestamp(&mut self, now: Duration) -> Tai64n {
        self.stamps.sent = Tai64n::at(now).max(self.stamps.sent.next());
        self.stamps.sent
    }

    /// The cookie to show to the peer.
    pub(super) fn cookie(&self, now: Instant, timers: &Timers) -> Option<&Mac> {
        let (cookie, given) = self.cookie.as_ref()?;
        (now < *given + timers.cookie_refresh_time).then_some(cookie)
    }
}

/// Shortest silence that a keepalive ends, as in WireGuard's configuration.
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(1);
