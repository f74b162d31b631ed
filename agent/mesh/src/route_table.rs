use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use tunmesh_packet::{ETHERTYPE_IPV4, IpHeader};
use tunmesh_protocol::{Ipv4Cidr, Member, NodeId};

use crate::drop_reason::DropReason;
use crate::settings::Settings;

/// The routes of one node at one moment: which packet goes where, and which may come in.
///
/// Nothing is allocated per packet. A member whose address is outside our network, is a broadcast address of ours or is
/// our own has no route: nothing is sent to it or taken from it.
#[derive(Debug)]
pub struct RouteTable {
    local: Ipv4Addr,
    network: Ipv4Cidr,
    /// The broadcast address of our own subnet.
    local_broadcast: Option<Ipv4Addr>,
    broadcast_enabled: bool,
    near_expiration: Duration,
    far_expiration: Duration,
    /// Sorted by address.
    owners: Vec<(Ipv4Addr, NodeId)>,
    /// Whether the member is in our own subnet.
    near: BTreeMap<NodeId, bool>,
    /// Members in our own subnet, by id.
    near_ids: Vec<NodeId>,
    /// All members, by id.
    all_ids: Vec<NodeId>,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound<'a> {
    /// To each of these, possibly none.
    Broadcast(&'a [NodeId]),
    /// To this member.
    Unicast(&'a NodeId),
}

impl RouteTable {
    /// The routes to `members` of a node with `settings`.
    pub(crate) fn new<'a>(settings: &Settings, members: impl Iterator<Item = &'a Member>) -> Self {
        let mut table = Self {
            local: settings.local.address.address(),
            network: settings.local.network,
            local_broadcast: settings.local.address.broadcast(),
            broadcast_enabled: settings.enable_broadcast,
            near_expiration: settings.near.packet_expiration,
            far_expiration: settings.far.packet_expiration,
            owners: Vec::new(),
            near: BTreeMap::new(),
            near_ids: Vec::new(),
            all_ids: Vec::new(),
        };
        for member in members {
            let address = member.address.address();
            if table.can_route(address) {
                table.owners.push((address, member.id.clone()));
                table.near.insert(member.id.clone(), settings.local.address.contains(address));
            }
        }
        table.owners.sort_unstable();
        table.all_ids = table.near.keys().cloned().collect();
        table.near_ids = table.near.iter().filter(|(_, near)| **near).map(|(id, _)| id.clone()).collect();
        table
    }

    /// Where a packet read from the TUN device goes.
    ///
    /// Checked in this order: family, multicast, broadcast, network, own address, route, source. The source is checked
    /// as the receiver would: the original sends such packets and has them dropped there.
    ///
    /// # Errors
    ///
    /// The reason to drop it.
    pub fn outbound(&self, header: &IpHeader) -> Result<Outbound<'_>, DropReason> {
        let (source, destination) = header.ipv4().ok_or(DropReason::Unsupported)?;
        if destination.is_multicast() {
            return Err(DropReason::Unsupported);
        }
        let to = match self.broadcast(destination) {
            Some(_) if !self.broadcast_enabled => return Err(DropReason::ConfigProhibited),
            Some(Broadcast::Local) => Outbound::Broadcast(&self.near_ids),
            Some(Broadcast::Mesh) => Outbound::Broadcast(&self.all_ids),
            None if !self.network.contains(destination) => return Err(DropReason::OutsideConfiguredNetwork),
            None if destination == self.local => return Err(DropReason::Misrouted),
            None => Outbound::Unicast(self.owner(destination).ok_or(DropReason::NoRoute)?),
        };
        if source != self.local {
            return Err(self.owner(source).map_or(DropReason::NoReturnRoute, |_| DropReason::RouteConflict));
        }
        Ok(to)
    }

    /// Whether a packet that the member `from` sent may go to the TUN device; its header if so.
    ///
    /// Checked in this order: ethertype, form, source, destination. The source must be the address of `from`.
    ///
    /// # Errors
    ///
    /// The reason to drop it. The original answers a [`DropReason::Malformed`] packet with status 500, all others with 204.
    pub fn inbound(&self, from: &NodeId, ethertype: u16, packet: &[u8]) -> Result<IpHeader, DropReason> {
        if ethertype != ETHERTYPE_IPV4 {
            return Err(DropReason::Unsupported);
        }
        let header = tunmesh_packet::parse(packet).map_err(|_| DropReason::Malformed)?;
        let (source, destination) = header.ipv4().ok_or(DropReason::Malformed)?;
        if source == self.local {
            return Err(DropReason::RouteConflict);
        }
        match self.owner(source) {
            None => return Err(DropReason::NoReturnRoute),
            Some(owner) if owner != from => return Err(DropReason::RouteConflict),
            Some(_) => {}
        }
        match self.broadcast(destination) {
            Some(_) if !self.broadcast_enabled => Err(DropReason::ConfigProhibited),
            None if destination != self.local => Err(DropReason::Misrouted),
            Some(_) | None => Ok(header),
        }
    }

    /// Age at which a packet to the member `to` is no longer worth sending.
    pub fn packet_expiration(&self, to: &NodeId) -> Duration {
        if self.near.get(to).is_some_and(|near| *near) { self.near_expiration } else { self.far_expiration }
    }

    /// Whether packets go to and come from the member `id`.
    pub fn contains(&self, id: &NodeId) -> bool {
        self.near.contains_key(id)
    }

    /// The member that has `address`.
    pub fn owner(&self, address: Ipv4Addr) -> Option<&NodeId> {
        let index = self.owners.binary_search_by_key(&address, |(address, _)| *address).ok()?;
        Some(&self.owners[index].1)
    }

    /// All routes, by address.
    pub fn iter(&self) -> impl Iterator<Item = (Ipv4Addr, &NodeId)> {
        self.owners.iter().map(|(address, id)| (*address, id))
    }

    /// What `destination` is a broadcast to. Where subnet and mesh are one, so are their broadcasts.
    fn broadcast(&self, destination: Ipv4Addr) -> Option<Broadcast> {
        if destination.is_broadcast() || Some(destination) == self.local_broadcast {
            return Some(Broadcast::Local);
        }
        (Some(destination) == self.network.broadcast()).then_some(Broadcast::Mesh)
    }

    fn can_route(&self, address: Ipv4Addr) -> bool {
        self.network.contains(address)
            && address != self.local
            && !address.is_multicast()
            && self.broadcast(address).is_none()
    }
}

/// Whom a broadcast reaches.
enum Broadcast {
    /// The members in our own subnet. The original knows 255.255.255.255 only and drops the subnet's own address.
    Local,
    /// All members.
    Mesh,
}

#[cfg(test)]
mod tests;
