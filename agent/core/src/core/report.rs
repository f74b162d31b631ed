use std::net::IpAddr;

use ipnet::IpNet;
use tunmesh_membership::{Health, Membership, Now, Record};
use tunmesh_mesh::Node;
use tunmesh_protocol::NodeId;

use super::Core;
use crate::view::{Contest, GossipView, PathView};

/// What can be asked.
impl Core {
    /// How packets reach the member `id`.
    pub fn path(&self, id: &NodeId) -> Option<PathView> {
        let peering = self.peerings.get(id)?;
        let (path, told) = (&peering.path, &peering.told);
        let sealed = peering.sealed.as_ref();
        let status = sealed.and_then(|(_, number)| self.endpoint.status(*number));
        Some(PathView {
            way: path.way(),
            takes_datagrams: path.offers().udp || (self.membership.is_some() && told.takes_datagrams),
            suite: peering.sending.as_ref().map(|session| session.suite()),
            last_handshake: status.and_then(|status| status.last_handshake),
            quality: path.quality(),
            largest: path.largest(),
            gossip: self.membership.as_ref().and_then(|membership| membership.health(id)),
            version: sealed.map(|(record, _)| record.version.clone()).or_else(|| told.version.clone()),
            clock_offset_secs: told.clock_offset_secs,
        })
    }

    /// The gossip as a whole; `None` without datagrams.
    pub fn gossip(&self) -> Option<GossipView> {
        let membership = self.membership.as_ref()?;
        let is_suspect = |id: &NodeId| membership.health(id) == Some(Health::Suspect);
        Some(GossipView {
            members: membership.len(),
            suspects: membership.members().filter(|record| is_suspect(&record.id)).count(),
            counters: *membership.counters(),
        })
    }

    /// Members whose records claim an address that another one has, be that a member of the gossip, of the node, or
    /// ourselves.
    pub fn contests(&self) -> Vec<Contest> {
        self.membership.iter().flat_map(|membership| contests(membership, &self.node)).collect()
    }

    /// Takes note of the clock of a member that just registered or answered a registration, in Unix seconds.
    pub fn note_clock(&mut self, id: &NodeId, stamp: i64, now: Now) {
        if let Some(peering) = self.peerings.get_mut(id) {
            let ours = i64::try_from(now.unix.as_secs()).unwrap_or(i64::MAX);
            peering.told.clock_offset_secs = Some(stamp.saturating_sub(ours));
        }
    }

    /// Takes note of whether a member takes datagrams, by its node_info.
    pub fn note_datagrams(&mut self, id: &NodeId, takes_datagrams: bool) {
        if let Some(peering) = self.peerings.get_mut(id) {
            peering.told.takes_datagrams = takes_datagrams;
        }
    }

    /// Takes note of what a member that is no member of the gossip runs.
    pub fn note_version(&mut self, id: &NodeId, version: String) {
        if let Some(peering) = self.peerings.get_mut(id) {
            peering.told.version = Some(version);
        }
    }
}

/// What a member said of itself over the control API.
#[derive(Default)]
pub(super) struct Told {
    /// Its clock minus ours, in seconds.
    clock_offset_secs: Option<i64>,
    takes_datagrams: bool,
    version: Option<String>,
}

impl Told {
    /// The same, when the gossip no longer vouches for the member whose record was `record`.
    pub(super) fn after(&self, record: &Record) -> Self {
        Self {
            clock_offset_secs: self.clock_offset_secs,
            takes_datagrams: !record.endpoints.is_empty(),
            version: Some(record.version.clone()),
        }
    }
}

fn contests<'a>(membership: &'a Membership, node: &'a Node) -> impl Iterator<Item = Contest> + 'a {
    let claims = membership.members().chain([membership.own()]);
    claims.flat_map(move |record| {
        record.addresses.iter().filter_map(move |address| {
            let holder = membership
                .owner_of(*address)
                .map(|holder| &holder.id)
                .filter(|holder| **holder != record.id)
                .or_else(|| holder_in(node, *address).filter(|holder| **holder != record.id))?;
            let (holder, claimant) = (holder.clone(), record.id.clone());
            Some(Contest { address: *address, holder, claimant })
        })
    })
}

fn holder_in(node: &Node, address: IpNet) -> Option<&NodeId> {
    let IpAddr::V4(address) = address.addr() else {
        return None;
    };
    node.owners().find(|(owned, _)| *owned == address).map(|(_, owner)| owner)
}
