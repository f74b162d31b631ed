use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tunmesh_protocol::{ControlUrl, Member};

use super::meetings::{CALLS, Reason};
use super::{Event, FASTEST, Node, SLOWEST, spread};
use crate::agenda::{Timer, backoff, later};
use crate::place::Place;
use crate::settings::{BootstrapGroup, Retries};

/// Bootstrap groups: the places to call while nobody else can tell of any.
impl Node {
    /// Forgets groups that are gone and calls those that are new or have new URLs.
    pub(super) fn start_groups(&mut self, now: Instant) {
        let configured = &self.settings.bootstrap_groups;
        self.groups.retain(|name, _| configured.contains_key(name));
        let changed: Vec<String> = configured
            .iter()
            .filter(|(name, group)| self.groups.get(*name).is_none_or(|known| known.config != **group))
            .map(|(name, _)| name.clone())
            .collect();
        for name in changed {
            if let Some(config) = self.settings.bootstrap_groups.get(&name).cloned() {
                self.groups.insert(name.clone(), Group { config, rounds: 0, checks: 0 });
                self.call_group(&name, now);
            }
        }
        let retry_at = later(now, self.settings.bootstrap_retry_interval.max(FASTEST));
        for name in self.groups.keys().cloned().map(Timer::Group) {
            if self.agenda.due(&name).is_some_and(|at| at > retry_at) {
                self.agenda.set(name, retry_at);
            }
        }
        let groups = &self.groups;
        for (place, contact) in &mut self.contacts {
            if contact.group.is_some() && !is_configured(groups, place) {
                contact.group = None;
                contact.rest_until(later(now, SLOWEST));
                if !contact.meeting {
                    self.agenda.set(Timer::Meet(place.clone()), later(now, SLOWEST));
                }
            }
        }
    }

    /// Calls the URLs of a group that lead to no member.
    ///
    /// While any does lead to one, the others are called once a minute, to find a part of the mesh that was cut off. So is one
    /// that leads to whom it likes, a name of many: members that started together may each have been led to another one, and
    /// be several meshes. It is asked again soon at first.
    pub(super) fn call_group(&mut self, name: &str, now: Instant) {
        let joined = self.is_joined(name);
        let leads_to_many = joined && self.leads_to_many(name);
        let retry_interval = self.settings.bootstrap_retry_interval.max(FASTEST);
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        group.checks = if leads_to_many { group.checks.saturating_add(1) } else { 0 };
        group.rounds = if joined { 0 } else { group.rounds.saturating_add(1) };
        let (calls, next) = match group.config.retries {
            Retries::Forever if leads_to_many => (1, Some(backoff(group.checks, SLOWEST))),
            Retries::Forever if joined => (1, Some(SLOWEST)),
            Retries::Forever => (CALLS, Some(retry_interval)),
            Retries::Times(times) => (1, (!joined && group.rounds <= times).then_some(retry_interval)),
        };
        if group.rounds > 1 {
            self.events.push_back(Event::ConfigReloadDue);
        }
        let urls = group.config.urls.clone();
        if let Some(wait) = next {
            // Nodes that start together behind a load balancer that takes turns would each be led to itself every time,
            // did they not call in another order the next time.
            let window = if joined { Duration::ZERO } else { wait / 4 };
            let early = spread(window, &self.settings.local.id, &group.rounds.to_string());
            self.agenda.set(Timer::Group(name.into()), later(now, wait - early));
        }
        for url in urls {
            self.seek(&url, Reason::Group { name: name.into(), calls }, now);
        }
    }

    /// Takes note that `member` is no longer known: a group that had no other is called again as if for the first time.
    pub(super) fn lost(&mut self, member: &Member, now: Instant) {
        let place = Place::of(&member.listen_url);
        let nobody_left = self.peers.is_empty();
        let led_here = |url: &ControlUrl| {
            let contact = self.contacts.get(&Place::of(url));
            Place::of(url) == place || contact.is_some_and(|contact| contact.leads_to.as_ref() == Some(&member.id))
        };
        let bereft: Vec<String> = self
            .groups
            .iter()
            .filter(|(name, group)| !self.is_joined(name) && (nobody_left || group.config.urls.iter().any(led_here)))
            .map(|(name, _)| name.clone())
            .collect();
        for name in bereft {
            if let Some(group) = self.groups.get_mut(&name) {
                group.rounds = 0;
                self.agenda.set(Timer::Group(name), now);
            }
        }
    }

    /// Whether a URL of the group leads to a known member.
    fn is_joined(&self, name: &str) -> bool {
        let group = self.groups.get(name);
        group.is_some_and(|group| group.config.urls.iter().any(|url| self.is_known(&Place::of(url))))
    }

    /// Whether a URL of the group leads to members without being one's own.
    fn leads_to_many(&self, name: &str) -> bool {
        let group = self.groups.get(name);
        group.is_some_and(|group| group.config.urls.iter().any(|url| self.is_shared(&Place::of(url))))
    }

    /// Whether a bootstrap group has the place.
    pub(super) fn is_configured(&self, place: &Place) -> bool {
        is_configured(&self.groups, place)
    }
}

fn is_configured(groups: &BTreeMap<String, Group>, place: &Place) -> bool {
    groups.values().any(|group| group.config.urls.iter().any(|url| Place::of(url) == *place))
}

/// A bootstrap group and how often it was called in vain.
#[derive(Debug)]
pub(super) struct Group {
    config: BootstrapGroup,
    rounds: u32,
    /// Calls in a row to a URL that leads to many while one of them is known.
    checks: u32,
}
