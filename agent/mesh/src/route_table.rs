use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tunmesh_packet::{ETHERTYPE_IPV4, IpHeader};
use tunmesh_protocol::{Ipv4Cidr, Member, NodeId};

use crate::drop_reason::DropReason;
use crate::settings::{Ipv6Settings, Settings};
use crate::vouched::Vouched;

/// The routes of one node at one moment: which packet goes where, and which may come in.
///
/// Nothing is allocated per packet. A member whose address is outside our network, is a broadcast address of ours or is
/// our own has no route: nothing is sent to it or taken from it.
#[derive(Debug)]
pub struct RouteTable {
    local: Ipv4Addr,
    ipv6: Option<Ipv6Settings>,
    network: Ipv4Cidr,
    further_networks: Vec<Ipv4Cidr>,
    /// The broadcast address of our own subnet.
    local_broadcast: Option<Ipv4Addr>,
    broadcast_enabled: bool,
    near_expiration: Duration,
    far_expiration: Duration,
    /// Sorted by address.
    owners: Vec<(IpAddr, NodeId)>,
    /// Our own `WireGuard` devices.
    devices: BTreeSet<NodeId>,
    /// Whether the member is in our own subnet.
    near: BTreeMap<NodeId, bool>,
    /// Members in our own subnet, by id.
    near_ids: Vec<NodeId>,
    /// All members, by id.
    all_ids: Vec<NodeId>,
    /// Members that want packets of a multicast group, by id.
    groups: BTreeMap<IpAddr, Vec<NodeId>>,
    /// Groups that applications here have joined.
    joined: BTreeSet<IpAddr>,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound<'a> {
    /// To each of these, possibly none.
    Broadcast(&'a [NodeId]),
    /// To this member.
    Unicast(&'a NodeId),
}

/// What to do with a packet that a member sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// Hand it to the TUN device.
    Deliver,
    /// Pass it on to this member or device: one end of the packet is a `WireGuard` device of this node.
    Forward(&'a NodeId),
}

/// Whom of several an address leads to that is reached through each: the first of these, then the smaller id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// A device of this node.
    Own,
    /// A member that the gossip vouches for, by when it started.
    Vouched { since: u64 },
    /// A member that only says so.
    Told,
}

impl RouteTable {
    /// The routes to `members` of a node with `settings` whose applications have joined the groups `joined`.
    pub(crate) fn new<'a>(
        settings: &Settings,
        joined: BTreeSet<IpAddr>,
        members: impl Iterator<Item = (&'a Member, &'a Vouched)>,
    ) -> Self {
        let mut table = Self {
            local: settings.local.address.address(),
            ipv6: settings.ipv6,
            network: settings.local.network,
            further_networks: settings.further_networks.clone(),
            local_broadcast: settings.local.address.broadcast(),
            broadcast_enabled: settings.enable_broadcast,
            near_expiration: settings.near.packet_expiration,
            far_expiration: settings.far.packet_expiration,
            owners: Vec::new(),
            devices: settings.devices.iter().map(|device| device.id.clone()).collect(),
            near: BTreeMap::new(),
            near_ids: Vec::new(),
            all_ids: Vec::new(),
            groups: BTreeMap::new(),
            joined,
        };
        let mut further = Vec::new();
        for (member, vouched) in members {
            let address = member.address.address();
            if !table.can_route(address.into()) {
                continue;
            }
            table.owners.push((address.into(), member.id.clone()));
            table.near.insert(member.id.clone(), settings.local.address.contains(address));
            let rank = if vouched.started_at == 0 { Rank::Told } else { Rank::Vouched { since: vouched.started_at } };
            further.extend(vouched.addresses.iter().map(|address| (*address, rank, member.id.clone())));
            for group in &vouched.groups {
                table.groups.entry(*group).or_default().push(member.id.clone());
            }
        }
        further.extend(
            settings
                .devices
                .iter()
                .flat_map(|device| device.addresses.iter().map(|one| (*one, Rank::Own, device.id.clone()))),
        );
        table.owners.sort_unstable();
        further.sort_unstable();
        // A member's own address goes before what others say is reached through them.
        for (address, _, id) in further {
            if let Err(at) = table.owners.binary_search_by_key(&address, |(address, _)| *address)
                && table.can_route(address)
            {
                table.owners.insert(at, (address, id));
            }
        }
        table.all_ids = table.near.keys().cloned().collect();
        table.near_ids = table.near.iter().filter(|(_, near)| **near).map(|(id, _)| id.clone()).collect();
        for ids in table.groups.values_mut() {
            ids.sort_unstable();
        }
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
        let (source, destination) = (header.source(), header.destination());
        let local = self.own(source).ok_or(DropReason::Unsupported)?;
        let to = match self.broadcast(destination) {
            _ if destination.is_multicast() => {
                Outbound::Broadcast(self.groups.get(&destination).ok_or(DropReason::Unsupported)?)
            }
            Some(_) if !self.broadcast_enabled => return Err(DropReason::ConfigProhibited),
            Some(Broadcast::Local) => Outbound::Broadcast(&self.near_ids),
            Some(Broadcast::Mesh) => Outbound::Broadcast(&self.all_ids),
            None if !self.in_network(destination) => return Err(DropReason::OutsideConfiguredNetwork),
            None if destination == local => return Err(DropReason::Misrouted),
            None => Outbound::Unicast(self.owner(destination).ok_or(DropReason::NoRoute)?),
        };
        if source != local {
            return Err(self.owner(source).map_or(DropReason::NoReturnRoute, |_| DropReason::RouteConflict));
        }
        Ok(to)
    }

    /// What to do with a packet of the v0 protocol that the member `from` sent; its header beside it.
    ///
    /// Checked in this order: ethertype, form, source, destination. The source must be the address of `from`.
    ///
    /// # Errors
    ///
    /// The reason to drop it. The original answers a [`DropReason::Malformed`] packet with status 500, all others with 204.
    pub fn inbound_v0(
        &self,
        from: &NodeId,
        ethertype: u16,
        packet: &[u8],
    ) -> Result<(IpHeader, Inbound<'_>), DropReason> {
        if ethertype != ETHERTYPE_IPV4 {
            return Err(DropReason::Unsupported);
        }
        let header = tunmesh_packet::parse(packet).map_err(|_| DropReason::Malformed)?;
        if header.ipv4().is_none() {
            return Err(DropReason::Malformed);
        }
        Ok((header, self.inbound(from, header.source(), header.destination())?))
    }

    /// What to do with a packet from `source` to `destination` that the member `from` sent.
    ///
    /// Checked in this order: source, destination. The source must be an address that is reached through `from`. Nothing
    /// is passed on from one member to another, so that no packet can run in circles.
    ///
    /// # Errors
    ///
    /// The reason to drop it.
    pub fn inbound(&self, from: &NodeId, source: IpAddr, destination: IpAddr) -> Result<Inbound<'_>, DropReason> {
        let local = self.own(source).ok_or(DropReason::Unsupported)?;
        if source == local {
            return Err(DropReason::RouteConflict);
        }
        match self.owner(source) {
            None => return Err(DropReason::NoReturnRoute),
            Some(owner) if owner != from => return Err(DropReason::RouteConflict),
            Some(_) => {}
        }
        match self.broadcast(destination) {
            Some(_) if !self.broadcast_enabled => Err(DropReason::ConfigProhibited),
            Some(_) => Ok(Inbound::Deliver),
            None if destination == local || self.joined.contains(&destination) => Ok(Inbound::Deliver),
            None => match self.owner(destination) {
                Some(to) if to != from && (self.devices.contains(to) || self.devices.contains(from)) => {
                    Ok(Inbound::Forward(to))
                }
                Some(_) | None => Err(DropReason::Misrouted),
            },
        }
    }

    /// Age at which a packet to the member `to` is no longer worth sending.
    pub fn packet_expiration(&self, to: &NodeId) -> Duration {
        if self.near.get(to).is_some_and(|near| *near) { self.near_expiration } else { self.far_expiration }
    }

    /// The member or device that has `address`.
    pub fn owner(&self, address: IpAddr) -> Option<&NodeId> {
        let index = self.owners.binary_search_by_key(&address, |(address, _)| *address).ok()?;
        Some(&self.owners[index].1)
    }

    /// All routes, by address.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &NodeId)> {
        self.owners.iter().map(|(address, id)| (*address, id))
    }

    /// Our own address of the same family, if we have one.
    fn own(&self, other: IpAddr) -> Option<IpAddr> {
        match other {
            IpAddr::V4(_) => Some(self.local.into()),
            IpAddr::V6(_) => self.ipv6.map(|ipv6| ipv6.address.into()),
        }
    }

    fn in_network(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                self.network.contains(address) || self.further_networks.iter().any(|network| network.contains(address))
            }
            IpAddr::V6(address) => self.ipv6.is_some_and(|ipv6| ipv6.network_contains(address)),
        }
    }

    /// What `destination` is a broadcast to. Where subnet and mesh are one, so are their broadcasts.
    fn broadcast(&self, destination: IpAddr) -> Option<Broadcast> {
        let IpAddr::V4(destination) = destination else {
            return None;
        };
        if destination.is_broadcast() || Some(destination) == self.local_broadcast {
            return Some(Broadcast::Local);
        }
        (Some(destination) == self.network.broadcast()).then_some(Broadcast::Mesh)
    }

    fn can_route(&self, address: IpAddr) -> bool {
        self.in_network(address)
            && Some(address) != self.own(address)
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
