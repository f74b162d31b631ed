//! What holds for every node at every moment, and what holds when nothing bad has happened for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tunmesh_membership::{Membership, Record};
use tunmesh_protocol::NodeId;

use crate::host::Agent;
use crate::world::World;

/// No two members have one address, and every route leads to a member that has the address.
#[track_caller]
pub(crate) fn check_routes(world: &World, agent: &Agent) {
    let node = agent.core.node();
    let mut addresses = BTreeSet::new();
    for view in node.members() {
        let first = addresses.insert(view.member.address.address());
        assert!(first, "two members have {} on {}, {}", view.member.address, agent.id, world.place());
        assert_ne!(view.member.id, agent.id, "{}", world.place());
    }
    let mut routed = BTreeSet::new();
    for (address, id) in node.routes().iter() {
        assert!(routed.insert(address), "{address} is routed twice on {}, {}", agent.id, world.place());
        let is_device =
            || node.settings().devices.iter().any(|device| device.id == *id && device.addresses.contains(&address));
        let has = node.member(id).is_some_and(|view| {
            let further = view.vouched.is_some_and(|vouched| vouched.addresses.contains(&address));
            IpAddr::V4(view.member.address.address()) == address || further
        });
        assert!(has || is_device(), "{address} leads to {id} on {}, {}", agent.id, world.place());
    }
}

/// No node has an older record of anybody than it once had.
#[track_caller]
pub(crate) fn check_records(world: &mut World) {
    let (place, checks_all) = (world.place(), world.rules.checks_all);
    // Among many, a few at a time.
    let turn = usize::try_from((world.now - world.start).as_millis() / 500).expect("not that long");
    let some = |index: &usize| checks_all || index % 50 == turn % 50;
    for index in (0..world.hosts.len()).filter(some) {
        let Some(agent) = &mut world.hosts[index].agent else {
            continue;
        };
        let mut held = std::mem::take(&mut agent.held);
        for record in membership(agent).members() {
            let now = (record.incarnation, record.started);
            let before = held.insert(record.id.clone(), now).unwrap_or(now);
            assert!(before <= now, "{} went back from {before:?} to {now:?} on {}, {place}", record.id, agent.id);
        }
        agent.held = held;
    }
    for index in (0..world.hosts.len()).filter(some) {
        if let Some(agent) = &world.hosts[index].agent {
            check_routes(world, agent);
        }
    }
}

/// All nodes know exactly those that run, and route every address to its one owner, and every gossip has all of them too, in
/// their latest incarnation.
///
/// Among more than a hundred some suspicion is always just being refuted while datagrams get lost: then a gossip may have
/// records of before, and may for a moment hold one in a hundred of the others for dead, of whom it hears late behind a NAT.
/// It keeps them as members by v0, which the routes show.
///
/// Only a node whose address another one had when it called may be left out, by all alike: nobody takes its registration.
fn is_settled(world: &World) -> Result<(), String> {
    let contested = contested(world);
    let own = |agent: &Agent| Arc::clone(membership(agent).own());
    let (_, first) = world.agents().find(|(host, _)| !contested.contains(&host.address)).ok_or("nobody is accepted")?;
    let admitted = |id: &NodeId| first.id == *id || membership(first).get(id).is_some();
    let inside: Vec<_> = world.agents().filter(|(_, agent)| admitted(&agent.id)).collect();
    if let Some((_, agent)) =
        world.agents().find(|(host, agent)| !contested.contains(&host.address) && !admitted(&agent.id))
    {
        return Err(format!("{} does not know {}", first.id, agent.id));
    }
    let records: BTreeMap<NodeId, _> = inside.iter().map(|(_, agent)| (agent.id.clone(), own(agent))).collect();
    let owners = owners(records.values().map(AsRef::as_ref));
    let is_quiet = world.hosts.len() <= 100 || world.rules.loss_percent == 0;
    for (host, agent) in &inside {
        let node = agent.core.node();
        let allowed = if is_quiet { 0 } else { inside.len() / 100 };
        if !(inside.len() - allowed..=inside.len()).contains(&(membership(agent).len() + 1)) {
            return Err(format!("{} knows {} of {}", agent.id, membership(agent).len() + 1, inside.len()));
        }
        for record in membership(agent).members() {
            let is_latest = |own: &Arc<Record>| own.incarnation == record.incarnation || !is_quiet;
            if !records.get(&record.id).is_some_and(is_latest) {
                return Err(format!("{} has an old record of {}", agent.id, record.id));
            }
        }
        // Who has an address that another one has is no member to those that know the other one, or are it.
        let expected = || owners.iter().filter(|(address, _)| **address != host.address);
        if node.owners().count() != expected().count() {
            return Err(format!("{} has {} members of {}", agent.id, node.owners().count(), expected().count()));
        }
        let routes = node.routes();
        // Both are in the order of the addresses.
        for ((address, owner), member) in expected().zip(node.owners()) {
            if member != (*address, *owner) || routes.owner(IpAddr::V4(*address)) != Some(*owner) {
                return Err(format!("{} routes {address} to {member:?}, not to {owner}", agent.id));
            }
        }
    }
    Ok(())
}

/// The same, and packets flow.
pub(crate) fn is_well(world: &World) -> Result<(), String> {
    is_settled(world)?;
    let contested = contested(world);
    world.flows(|end| contested.contains(&world.hosts[end.host].address))
}

/// Addresses that more than one running node claims.
fn contested(world: &World) -> BTreeSet<Ipv4Addr> {
    let mut claimed = BTreeSet::new();
    world.agents().map(|(host, _)| host.address).filter(|address| !claimed.insert(*address)).collect()
}

fn membership(agent: &Agent) -> &Membership {
    agent.core.membership().expect("it gossips")
}

/// Who is to have which address: of all that claim it the one that started first, then the smaller id.
fn owners<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeMap<Ipv4Addr, &'a NodeId> {
    let mut owners: BTreeMap<Ipv4Addr, &Record> = BTreeMap::new();
    for record in records {
        if let Some(IpAddr::V4(address)) = record.addresses.first().map(ipnet::IpNet::addr) {
            let owner = owners.entry(address).or_insert(record);
            if (record.started, &record.id) < (owner.started, &owner.id) {
                *owner = record;
            }
        }
    }
    owners.into_iter().map(|(address, record)| (address, &record.id)).collect()
}
