use std::time::{Duration, Instant};

use tunmesh_protocol::{ControlUrl, Member, NodeId, Registration};

use super::{Action, MAX_CONTACTS, Node, Order, Refusal, SLOWEST};
use crate::agenda::{Timer, backoff, later};
use crate::place::Place;

/// Meetings: calling places to find out who is there, be it from the bootstrap groups or from what members tell.
///
/// Nobody becomes a member by hearsay. A place that was told of is called at once, then up to four more times, 1, 2, 4 and 8 s
/// apart; each failure doubles the wait before the next call, up to 60 s, even if members keep telling of it.
impl Node {
    /// Takes the outcome of [`Action::Meet`].
    ///
    /// # Errors
    ///
    /// If the answer is verified but cannot be accepted.
    pub fn handle_met(
        &mut self,
        url: &ControlUrl,
        outcome: Result<&Registration, MeetFailure>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let place = Place::of(url);
        let was_under_way = self.contacts.get_mut(&place).is_some_and(|contact| std::mem::take(&mut contact.meeting));
        match outcome {
            Ok(answer) if answer.local.id == self.settings.local.id => self.met_nobody(&place, now),
            Ok(answer) => return self.met(&place, answer, now),
            Err(MeetFailure::Itself) => self.met_nobody(&place, now),
            Err(MeetFailure::Refused | MeetFailure::Unreachable | MeetFailure::Unverified) if was_under_way => {
                self.meeting_failed(&place, now);
            }
            Err(MeetFailure::Refused | MeetFailure::Unreachable | MeetFailure::Unverified) => {}
        }
        Ok(())
    }

    fn met(&mut self, place: &Place, answer: &Registration, now: Instant) -> Result<(), Refusal> {
        let examined = self.examine(&answer.local).and_then(|screening| match screening.contested {
            None => Ok(()),
            Some(contested) => Err(Refusal::AddressTaken { owner: contested.owner.id }),
        });
        if let Err(refusal) = examined {
            self.meeting_failed(place, now);
            if let Refusal::AddressTaken { owner } = &refusal {
                self.hurry(owner, now);
            }
            return Err(refusal);
        }
        if let Some(contact) = self.contacts.get_mut(place) {
            contact.failures = 0;
            contact.leads_to = Some(answer.local.id.clone());
            contact.rest_until(later(now, SLOWEST));
            self.agenda.set(Timer::Meet(place.clone()), later(now, SLOWEST));
        }
        if self.is_proven_at(place, &answer.local) {
            self.store(answer, now);
        } else {
            self.seek(&answer.local.listen_url, Reason::Led(answer.local.id.clone()), now);
        }
        Ok(())
    }

    /// Whether a member that answered a call to `place` is where it says. If it names another URL, because a load balancer
    /// or another name led to it, only a call there proves it: that may be the URL of a member it wants to replace.
    fn is_proven_at(&self, place: &Place, member: &Member) -> bool {
        let known = self.peers.by_id(&member.id);
        Place::of(&member.listen_url) == *place
            || known.is_some_and(|known| known.member.listen_url.same_place(&member.listen_url))
    }

    /// The place led to ourselves: another name of ours, or a load balancer that may choose better next time.
    fn met_nobody(&mut self, place: &Place, now: Instant) {
        if let Some(contact) = self.contacts.get_mut(place) {
            contact.rest_until(later(now, SLOWEST));
            self.agenda.set(Timer::Meet(place.clone()), later(now, SLOWEST));
        }
    }

    fn meeting_failed(&mut self, place: &Place, now: Instant) {
        let Some(contact) = self.contacts.get_mut(place) else {
            return;
        };
        contact.failures = contact.failures.saturating_add(1);
        contact.leads_to = None;
        contact.calls_left = contact.calls_left.saturating_sub(1);
        contact.not_before = later(now, backoff(contact.failures, SLOWEST));
        // A contact that is given up is remembered a while longer, for its failures.
        let rest = if contact.calls_left == 0 { SLOWEST } else { Duration::ZERO };
        self.agenda.set(Timer::Meet(place.clone()), later(contact.not_before, rest));
    }

    /// Calls a place, gives up a call that nobody answered, or forgets the place.
    pub(super) fn contact_due(&mut self, place: &Place, now: Instant) {
        let known = self.is_known(place);
        let give_up_at = self.give_up_at(now);
        let Some(contact) = self.contacts.get_mut(place) else {
            return;
        };
        if std::mem::take(&mut contact.meeting) {
            return self.meeting_failed(place, now);
        }
        if contact.calls_left > 0 && (contact.in_doubt || !known) {
            contact.in_doubt = false;
            contact.meeting = true;
            self.agenda.set(Timer::Meet(place.clone()), give_up_at);
            self.orders.push_back(Order::Meet(place.clone()));
        } else if contact.calls_left > 0 {
            contact.rest_until(later(now, SLOWEST));
            self.agenda.set(Timer::Meet(place.clone()), later(now, SLOWEST));
        } else if !self.is_configured(place) {
            self.contacts.remove(place);
        }
    }

    /// Hears of members from another one.
    ///
    /// With gossip they are called one after the other, each node beginning elsewhere in the list: until it is their turn,
    /// the gossip vouches for most of them, and nobody is called by all at once.
    pub(super) fn learn(&mut self, members: &[Member], now: Instant) {
        let local = &self.settings.local;
        let is_ours = |member: &Member| member.id == local.id || member.address.address() == local.address.address();
        let mut strangers: Vec<&Member> =
            members.iter().filter(|member| !is_ours(member) && !self.peers.contains(&member.id)).collect();
        strangers.sort_by_key(|stranger| stranger.id < local.id);
        let mut after = hearsay_wait(self.settings.hearsay_delay, members.len());
        for stranger in strangers {
            self.seek(&stranger.listen_url, Reason::Told { id: stranger.id.clone(), after }, now);
            if !self.settings.hearsay_delay.is_zero() {
                after += HEARSAY_CALL_INTERVAL;
            }
        }
    }

    /// Plans to call a place unless there is no reason to.
    pub(super) fn seek(&mut self, url: &ControlUrl, reason: Reason, now: Instant) {
        let place = Place::of(url);
        if url.same_place(&self.settings.local.listen_url) {
            return;
        }
        let is_check = matches!(reason, Reason::Group { .. }) && self.is_shared(&place);
        if !is_check && !matches!(reason, Reason::Led(_) | Reason::Moved(_)) && self.is_known(&place) {
            return;
        }
        if self.contacts.len() >= MAX_CONTACTS && !self.contacts.contains_key(&place) && !self.is_configured(&place) {
            return;
        }
        let contact = self.contacts.entry(place.clone()).or_insert_with(|| Contact::new(url.clone(), now));
        if contact.meeting {
            return;
        }
        let at = match reason {
            Reason::Told { id, after } => {
                // What is planned already is not put off, or a long list would keep it from ever being done.
                if contact.calls_left > 0 {
                    return;
                }
                contact.expected = Some(id);
                contact.calls_left = CALLS;
                contact.not_before.max(later(now, after))
            }
            Reason::Led(id) => {
                contact.expected = Some(id);
                contact.calls_left = CALLS;
                contact.in_doubt = true;
                contact.not_before.max(now)
            }
            Reason::Moved(id) => {
                contact.expected = Some(id);
                contact.calls_left = 1;
                contact.in_doubt = true;
                now
            }
            Reason::Group { name, calls } => {
                contact.group = Some(name);
                contact.calls_left = calls;
                contact.in_doubt |= is_check;
                now
            }
        };
        let timer = Timer::Meet(place.clone());
        self.agenda.set(timer.clone(), at);
        if at <= now {
            self.agenda.clear(&timer);
            self.contact_due(&place, now);
        }
    }

    /// Whether the place is that of a known member, or led to one when it was last called.
    pub(super) fn is_known(&self, place: &Place) -> bool {
        let contact = self.contacts.get(place);
        let led_to = contact.and_then(|contact| contact.leads_to.as_ref());
        self.peers.by_place(place).is_some() || led_to.is_some_and(|id| self.peers.contains(id))
    }

    /// Whether the place is no member's own and led to one all the same: next time it may lead to another.
    pub(super) fn is_shared(&self, place: &Place) -> bool {
        self.peers.by_place(place).is_none() && self.is_known(place)
    }
}

/// A place to call.
#[derive(Debug)]
pub(super) struct Contact {
    url: ControlUrl,
    expected: Option<NodeId>,
    pub(super) group: Option<String>,
    /// Calls to make until one succeeds; none are planned if 0.
    calls_left: u32,
    /// Whether to call although a known member has the place, since it may be there no more.
    in_doubt: bool,
    /// Whether a call is under way.
    pub(super) meeting: bool,
    /// Failures in a row.
    failures: u32,
    /// When it may be called again just because it was told of.
    not_before: Instant,
    /// Who answered last time.
    pub(super) leads_to: Option<NodeId>,
}

impl Contact {
    fn new(url: ControlUrl, now: Instant) -> Self {
        Self {
            url,
            expected: None,
            group: None,
            calls_left: 0,
            in_doubt: false,
            meeting: false,
            failures: 0,
            not_before: now,
            leads_to: None,
        }
    }

    /// Plans no more calls, and allows none for hearsay until `at`.
    pub(super) fn rest_until(&mut self, at: Instant) {
        self.calls_left = 0;
        self.in_doubt = false;
        self.not_before = at;
    }

    pub(super) fn is_first_call_under_way(&self) -> bool {
        self.meeting && self.failures == 0
    }

    pub(super) fn action(&self) -> Action {
        Action::Meet { url: self.url.clone(), expected: self.expected.clone(), group: self.group.clone() }
    }
}

/// Why to call a place.
pub(super) enum Reason {
    /// It is in a bootstrap group.
    Group { name: String, calls: u32 },
    /// Who answered elsewhere says to be there.
    Led(NodeId),
    /// The member that was there may not be there any more, or is there now.
    Moved(NodeId),
    /// A member says that another one is there, who is to be called after a while.
    Told { id: NodeId, after: Duration },
}

/// How a meeting failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeetFailure {
    /// We are there ourselves.
    Itself,
    /// It answered with another status than success.
    Refused,
    /// It did not answer.
    Unreachable,
    /// It answered with something that could not be verified or read.
    Unverified,
}

/// Wait before so many members are called that another one told of: the more there are, the longer the gossip takes to
/// vouch for all of them. Without gossip there is nothing to wait for, and `least` is none.
fn hearsay_wait(least: Duration, members: usize) -> Duration {
    if least.is_zero() {
        return least;
    }
    let members = u32::try_from(members).unwrap_or(u32::MAX);
    let grown = least.saturating_add(HEARSAY_DELAY_PER_MEMBER.saturating_mul(members));
    grown.min(MAX_HEARSAY_DELAY.max(least))
}

/// What [`Settings::hearsay_delay`](crate::Settings::hearsay_delay) grows by with each member in a list, and to what at most:
/// so long the gossip takes when as many nodes start together. Whom it leaves out then comes with the next comparison of
/// two nodes, 10 s later at most.
const HEARSAY_DELAY_PER_MEMBER: Duration = Duration::from_millis(10);
const MAX_HEARSAY_DELAY: Duration = Duration::from_secs(12);

/// Between two calls to members that one list told of, where there is gossip.
const HEARSAY_CALL_INTERVAL: Duration = Duration::from_millis(50);

/// Calls to a place that fails, until it is told of again.
pub(super) const CALLS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hearsay_waits_the_longer_the_more_it_tells_of_and_not_at_all_without_gossip() {
        let wait = |least, members| hearsay_wait(Duration::from_millis(least), members).as_millis();

        assert_eq!(
            [0, 2, 60, 200, 1000, usize::MAX].map(|members| wait(700, members)),
            [700, 720, 1300, 2700, 10_700, 12_000]
        );
        assert_eq!([0, 1000].map(|members| wait(0, members)), [0, 0]);
        assert_eq!(wait(20_000, 1000), 20_000);
    }
}
