use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use crate::member_key::{KeyMap, MemberKey};
use crate::message::Item;
use crate::news::Topic;
use crate::record::Record;
use crate::signed::SignedRecord;
use crate::summary::Summary;

/// Everybody this node knows, itself included, and what follows from who is alive.
#[derive(Debug)]
pub(crate) struct Table {
    own: MemberKey,
    members: KeyMap<Member>,
    /// The others that are alive or suspect, in the order of the ring.
    live: Vec<MemberKey>,
    summary: Summary,
    /// Who that is alive claims what.
    owners: BTreeMap<IpNet, Vec<MemberKey>>,
}

/// One member as this node knows it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) record: Arc<Record>,
    pub(crate) signed: SignedRecord,
    pub(crate) state: State,
    /// Where its latest datagram came from.
    pub(crate) seen_at: Option<SocketAddr>,
    /// Where its latest answer to a probe of ours came from, until one stays away.
    pub(crate) answers_at: Option<SocketAddr>,
    /// Whether a probe to its advertised endpoint failed and none succeeded since.
    pub(crate) advertised_failed: bool,
}

/// Whether a member is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// As far as is known.
    Alive,
    /// It left, or did not refute a suspicion.
    Down { left: bool, since: Instant },
    /// These did not hear from it, and it can still refute.
    Suspect { since: Instant, by: Vec<MemberKey> },
}

impl State {
    pub(crate) const fn is_live(&self) -> bool {
        !matches!(self, Self::Down { .. })
    }
}

impl Member {
    pub(crate) const fn new(record: Arc<Record>, signed: SignedRecord, state: State) -> Self {
        Self { record, signed, state, seen_at: None, answers_at: None, advertised_failed: false }
    }

    /// The one address to send to.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let advertised = self.record.endpoints.first().copied();
        let advertised_first = if self.advertised_failed { None } else { advertised };
        self.answers_at.or(advertised_first).or(self.seen_at).or(advertised)
    }

    /// All addresses worth trying when the one fails, at most four.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let mut all = Vec::new();
        let advertised = self.record.endpoints.iter().copied();
        for address in self.answers_at.into_iter().chain(self.seen_at).chain(advertised) {
            if !all.contains(&address) && all.len() < 4 {
                all.push(address);
            }
        }
        all
    }
}

impl Table {
    pub(crate) fn new(own: MemberKey, member: Member) -> Self {
        let mut table = Self {
            own,
            members: KeyMap::default(),
            live: Vec::new(),
            summary: Summary::default(),
            owners: BTreeMap::new(),
        };
        table.put(own, member);
        table
    }

    pub(crate) fn get(&self, key: MemberKey) -> Option<&Member> {
        self.members.get(&key)
    }

    /// For what does not touch its record or state; those change by [`Self::put`] and [`Self::set_state`].
    pub(crate) fn get_mut(&mut self, key: MemberKey) -> Option<&mut Member> {
        self.members.get_mut(&key)
    }

    /// This node.
    pub(crate) fn own(&self) -> &Member {
        &self.members[&self.own]
    }

    /// All that are known, this node and those that are down included.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The others that are alive or suspect, in the order of the ring.
    pub(crate) fn live(&self) -> &[MemberKey] {
        &self.live
    }

    pub(crate) const fn summary(&self) -> &Summary {
        &self.summary
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (MemberKey, &Member)> {
        self.members.iter().map(|(key, member)| (*key, member))
    }

    /// A piece of news with what is known now.
    pub(crate) fn item(&self, about: MemberKey, topic: Topic) -> Option<Item<'_>> {
        let member = self.get(about)?;
        let incarnation = member.record.incarnation;
        Some(match topic {
            Topic::Dead => Item::Dead { of: about, incarnation },
            Topic::Record => Item::Record(member.signed.parts()),
            Topic::Suspect { by } => Item::Suspect { of: about, incarnation, by },
        })
    }

    /// Keys and incarnations of those in `keys` that are alive or suspect, this node included, ascending.
    pub(crate) fn listed(&self, keys: RangeInclusive<MemberKey>) -> impl Iterator<Item = (MemberKey, u64)> {
        let from = self.live.partition_point(|key| key < keys.start());
        let own = self.live.partition_point(|key| *key < self.own).max(from);
        let own_listed = keys.contains(&self.own).then_some(self.own);
        let others = self.live[from..own].iter().copied().chain(own_listed).chain(self.live[own..].iter().copied());
        let within = others.take_while(move |key| keys.contains(key));
        within.filter_map(|key| Some((key, self.get(key)?.record.incarnation)))
    }

    /// Those that claim exactly `net`: the one that started first, then the smaller id, before the others.
    pub(crate) fn owners(&self, net: &IpNet) -> Vec<&Arc<Record>> {
        let keys = self.owners.get(net).into_iter().flatten();
        let mut records: Vec<_> = keys.filter_map(|key| self.get(*key)).map(|member| &member.record).collect();
        records.sort_by_key(|record| (record.started, &record.id));
        records
    }

    /// Takes a member in, in place of what was known of it, which is returned.
    pub(crate) fn put(&mut self, key: MemberKey, member: Member) -> Option<Member> {
        self.withdraw(key);
        let before = self.members.insert(key, member);
        self.register(key);
        before
    }

    /// Changes the state of a member that is known.
    pub(crate) fn set_state(&mut self, key: MemberKey, state: State) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        if member.state.is_live() == state.is_live() {
            member.state = state;
            return;
        }
        self.withdraw(key);
        if let Some(member) = self.members.get_mut(&key) {
            member.state = state;
        }
        self.register(key);
    }

    pub(crate) fn forget(&mut self, key: MemberKey) {
        self.withdraw(key);
        self.members.remove(&key);
    }

    /// The member `steps` further on the ring than `key`, among the others; nobody if there are none.
    pub(crate) fn on_ring(&self, key: MemberKey, steps: usize) -> Option<MemberKey> {
        let after = self.live.partition_point(|other| *other <= key);
        let index = (after + steps).checked_rem(self.live.len())?;
        self.live.get(index).copied()
    }

    /// Adds what follows from a member that is live.
    fn register(&mut self, key: MemberKey) {
        let Some(member) = self.members.get(&key).filter(|member| member.state.is_live()) else {
            return;
        };
        self.summary.toggle(key, member.record.incarnation);
        for net in &member.record.addresses {
            let owners = self.owners.entry(*net).or_default();
            if !owners.contains(&key) {
                owners.push(key);
            }
        }
        if key != self.own
            && let Err(index) = self.live.binary_search(&key)
        {
            self.live.insert(index, key);
        }
    }

    /// Takes away what [`Self::register`] added.
    fn withdraw(&mut self, key: MemberKey) {
        let Some(member) = self.members.get(&key).filter(|member| member.state.is_live()) else {
            return;
        };
        self.summary.toggle(key, member.record.incarnation);
        for net in &member.record.addresses {
            if let Some(owners) = self.owners.get_mut(net) {
                owners.retain(|owner| *owner != key);
                if owners.is_empty() {
                    self.owners.remove(net);
                }
            }
        }
        if let Ok(index) = self.live.binary_search(&key) {
            self.live.remove(index);
        }
    }
}
