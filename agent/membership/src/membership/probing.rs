use std::net::SocketAddr;
use std::time::Duration;

use crate::agenda::Timer;
use crate::member_key::MemberKey;
use crate::message::Kind;
use crate::news::Topic;
use crate::settings::Now;
use crate::table::{Member, State};

use super::Membership;

/// A ping of ours that is not answered yet.
#[derive(Debug)]
pub(super) struct Probe {
    nonce: u64,
    target: MemberKey,
    /// Of the target when it began; what it says meanwhile shows that it is there.
    incarnation: u64,
    /// How many others were asked, and how many of them said that they do not reach it either.
    asked: usize,
    not_reached: usize,
}

/// A ping made for somebody else.
#[derive(Debug)]
pub(super) struct Relay {
    nonce: u64,
    target: MemberKey,
    /// Who asked, and under which nonce.
    asker: SocketAddr,
    asker_nonce: u64,
}

impl Membership {
    /// Probes the next member on the ring.
    ///
    /// In the n-th interval since 1970 every node probes the one n further on the ring, so that, as far as views and clocks
    /// agree, every member is probed exactly once per interval, and not only on average as with random targets (SWIM,
    /// section 4.3, bounds the time only for one prober). Every fifth one goes to one of the three next on the ring: they
    /// are who others ask to reach this node, and what is sent to them keeps the way through a NAT open.
    pub(super) fn probe_due(&mut self, now: Now) {
        let interval = self.timers.probe_interval.max(Duration::from_millis(1));
        self.agenda.set(Timer::Probe, now.instant + self.strained(interval));
        let round = now.unix.since_epoch().as_millis() / interval.as_millis();
        let helpers = HELPERS as u128;
        let steps = if round.is_multiple_of(5) { round / 5 % helpers } else { round - round / 5 };
        let steps = steps.checked_rem(self.len() as u128).and_then(|steps| usize::try_from(steps).ok());
        if let Some(target) = steps.and_then(|steps| self.table.on_ring(self.key, steps)) {
            self.probe(target, now);
        }
    }

    pub(super) fn probe(&mut self, target: MemberKey, now: Now) {
        let Some(member) = self.table.get(target).filter(|member| member.state.is_live()) else {
            return;
        };
        if self.probes.len() >= MAX_PROBES || self.probes.iter().any(|probe| probe.target == target) {
            return;
        }
        let address = member.address();
        let incarnation = member.record.incarnation;
        let nonce = self.random.u64();
        self.counters.probes += 1;
        self.probes.push(Probe { nonce, target, incarnation, asked: 0, not_reached: 0 });
        let wait = self.strained(self.timers.ack_timeout);
        self.agenda.set(Timer::ProbeLate(nonce), now.instant + wait);
        self.agenda.set(Timer::ProbeOver(nonce), now.instant + wait * 2);
        if let Some(address) = address {
            self.ping(target, nonce, address, now);
        }
    }

    /// Calls who is among the next on the ring since a moment ago: others will ask these to reach this node, whose NAT lets
    /// through only whom it called.
    pub(super) fn meet_helpers(&mut self, now: Now) {
        let helpers: Vec<_> = (0..HELPERS).filter_map(|steps| self.table.on_ring(self.key, steps)).collect();
        if helpers == self.helpers {
            return;
        }
        for helper in &helpers {
            if !self.helpers.contains(helper) {
                self.probe(*helper, now);
            }
        }
        self.helpers = helpers;
    }

    /// Asks the helpers of the target to reach it, and tries all its addresses.
    pub(super) fn probe_late(&mut self, nonce: u64, now: Now) {
        let Some(probe) = self.probes.iter_mut().find(|probe| probe.nonce == nonce) else {
            return;
        };
        let target = probe.target;
        let helpers: Vec<SocketAddr> = (0..=HELPERS)
            .filter_map(|steps| self.table.on_ring(target, steps))
            .filter(|helper| *helper != target)
            .filter_map(|helper| self.table.get(helper)?.address())
            .take(HELPERS)
            .collect();
        probe.asked = helpers.len();
        for helper in helpers {
            self.send(helper, &Kind::PingRequest { nonce, target }, &[], now);
        }
        for address in self.table.get(target).map(Member::addresses).unwrap_or_default() {
            self.ping(target, nonce, address, now);
        }
    }

    /// Suspects the target, which nobody reached.
    pub(super) fn probe_over(&mut self, nonce: u64, now: Now) {
        let Some(probe) = self.take_probe(|probe| probe.nonce == nonce) else {
            return;
        };
        // Nobody said anything at all: the fault may be here (Lifeguard, section IV.A).
        if probe.asked > 0 && probe.not_reached == 0 {
            self.strain = (self.strain + 1).min(MAX_STRAIN);
        }
        self.counters.probes_failed += 1;
        self.distrust_address(probe.target);
        if self.table.get(probe.target).is_some_and(|member| member.record.incarnation == probe.incarnation) {
            self.suspect(probe.target, self.key, now);
        }
    }

    /// Answers a ping; a suspect is told so, to refute.
    pub(super) fn answer_ping(&mut self, sender: MemberKey, nonce: u64, source: SocketAddr, now: Now) {
        let doubt = self.doubt(sender);
        self.send(source, &Kind::Ack { nonce }, &doubt, now);
    }

    pub(super) fn take_ack(&mut self, sender: MemberKey, nonce: u64, source: SocketAddr, now: Now) {
        if let Some(index) = self.relays.iter().position(|relay| relay.nonce == nonce && relay.target == sender) {
            let relay = self.relays.swap_remove(index);
            self.send(relay.asker, &Kind::Reached { nonce: relay.asker_nonce }, &[], now);
        } else if self.take_probe(|probe| probe.nonce == nonce && probe.target == sender).is_some() {
            self.strain = self.strain.saturating_sub(1);
            if let Some(member) = self.table.get_mut(sender) {
                member.answers_at = Some(source);
                member.advertised_failed &= !member.record.endpoints.contains(&source);
            }
        }
    }

    /// Pings a member for the one at `asker`.
    pub(super) fn relay(&mut self, asker_nonce: u64, target: MemberKey, asker: SocketAddr, now: Now) {
        let addresses = self.table.get(target).map(Member::addresses).unwrap_or_default();
        if addresses.is_empty() || self.relays.len() >= MAX_RELAYS {
            self.send(asker, &Kind::NotReached { nonce: asker_nonce }, &[], now);
            return;
        }
        let nonce = self.random.u64();
        self.relays.push(Relay { nonce, target, asker, asker_nonce });
        // Early enough for the asker to hear of a failure within its own time.
        self.agenda.set(Timer::RelayOver(nonce), now.instant + self.timers.ack_timeout.mul_f64(0.8));
        for address in addresses {
            self.ping(target, nonce, address, now);
        }
    }

    pub(super) fn relay_over(&mut self, nonce: u64, now: Now) {
        if let Some(index) = self.relays.iter().position(|relay| relay.nonce == nonce) {
            let relay = self.relays.swap_remove(index);
            self.send(relay.asker, &Kind::NotReached { nonce: relay.asker_nonce }, &[], now);
        }
    }

    pub(super) fn take_reached(&mut self, nonce: u64) {
        if let Some(probe) = self.take_probe(|probe| probe.nonce == nonce) {
            self.strain = self.strain.saturating_sub(1);
            self.distrust_address(probe.target);
        }
    }

    pub(super) fn take_not_reached(&mut self, nonce: u64) {
        if let Some(probe) = self.probes.iter_mut().find(|probe| probe.nonce == nonce) {
            probe.not_reached += 1;
        }
    }

    fn ping(&mut self, target: MemberKey, nonce: u64, address: SocketAddr, now: Now) {
        let doubt = self.doubt(target);
        self.send(address, &Kind::Ping { nonce }, &doubt, now);
    }

    /// What is to be said first to a member that is suspect.
    fn doubt(&self, member: MemberKey) -> Vec<(MemberKey, Topic)> {
        match self.table.get(member).map(|member| &member.state) {
            Some(State::Suspect { by, .. }) => {
                by.first().map(|by| (member, Topic::Suspect { by: *by })).into_iter().collect()
            }
            Some(State::Alive | State::Down { .. }) | None => Vec::new(),
        }
    }

    fn distrust_address(&mut self, target: MemberKey) {
        if let Some(member) = self.table.get_mut(target) {
            member.answers_at = None;
            member.advertised_failed = true;
        }
    }

    fn take_probe(&mut self, wanted: impl Fn(&Probe) -> bool) -> Option<Probe> {
        let index = self.probes.iter().position(wanted)?;
        Some(self.probes.swap_remove(index))
    }

    /// Longer, the more reason this node has to doubt itself.
    fn strained(&self, wait: Duration) -> Duration {
        wait * (1 + self.strain)
    }
}

/// Highest strain; waits are then five times as long.
pub(super) const MAX_STRAIN: u32 = 4;

/// Others asked to reach a member that does not answer: those next to it on the ring.
const HELPERS: usize = 3;

/// Most probes under way; there is one per interval and now and then one to confirm a suspicion.
const MAX_PROBES: usize = 64;

/// Most pings for others under way.
const MAX_RELAYS: usize = 256;
