//! Links, addresses and routes of the calling thread's network namespace, for the demonstration and for tests.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use crate::netlink::{self, Route};

/// One change of the network configuration that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("failed to {attempt} {subject}")]
pub struct LinkError {
    attempt: &'static str,
    subject: String,
    source: io::Error,
}

impl LinkError {
    /// Whether what was to be added is there already.
    pub fn already_there(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EEXIST)
    }

    /// Whether there is no link of that name.
    pub(crate) fn no_link(&self) -> bool {
        self.source.raw_os_error() == Some(libc::ENODEV)
    }

    /// Whether an IPv6 address was refused because the host has no IPv6, or has it off for that link.
    pub fn without_ipv6(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::EACCES | libc::EAFNOSUPPORT | libc::EOPNOTSUPP))
    }
}

/// Makes a bridge, up.
pub fn bridge(name: &str) -> Result<(), LinkError> {
    let mut message = LinkMessage::default();
    message.attributes =
        vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)])];
    attempt("make bridge", name, netlink::change(RouteNetlinkMessage::NewLink(message), CREATE))?;
    set_up(name)
}

/// Makes `name` a port of `bridge`.
pub fn attach(name: &str, bridge: &str) -> Result<(), LinkError> {
    let message = netlink::link(index(name)?, vec![LinkAttribute::Controller(index(bridge)?)]);
    attempt("attach to its bridge", name, netlink::change(RouteNetlinkMessage::SetLink(message), 0))
}

/// Brings a link up.
pub fn set_up(name: &str) -> Result<(), LinkError> {
    attempt("bring up", name, netlink::change(netlink::link_up(index(name)?), 0))
}

/// Sets the largest packet of a link, in bytes.
pub fn set_mtu(name: &str, mtu: u32) -> Result<(), LinkError> {
    set(name, "set the MTU of", LinkAttribute::Mtu(mtu))
}

/// Sets the number of packets that wait in a link's transmit queue.
pub fn set_queue_len(name: &str, packets: u32) -> Result<(), LinkError> {
    set(name, "set the transmit queue length of", LinkAttribute::TxQueueLen(packets))
}

/// Sets the number of segments that a super packet has at most which is handed to a link uncut.
pub(crate) fn set_max_segments(name: &str, segments: u32) -> Result<(), LinkError> {
    set(name, "limit the segments of super packets of", LinkAttribute::GsoMaxSegs(segments))
}

/// Deletes a link; of a veth pair both ends go.
pub fn delete(name: &str) -> Result<(), LinkError> {
    let message = netlink::link(index(name)?, Vec::new());
    attempt("delete", name, netlink::change(RouteNetlinkMessage::DelLink(message), 0))
}

/// Adds an address, with the broadcast address of its subnet if it is IPv4.
pub fn add_address(name: &str, address: impl Into<IpNet>) -> Result<(), LinkError> {
    let request = netlink::address(index(name)?, address.into());
    attempt("add an address to", name, netlink::change(request, CREATE))
}

/// Adds a route whose packets leave from `source`; the mesh network into a TUN device.
pub(crate) fn add_sourced_route(destination: IpNet, source: IpAddr, device: &str) -> Result<(), LinkError> {
    let route = Route { destination, device: index(device)?, source };
    add(&destination, RouteNetlinkMessage::NewRoute(route.unicast()))
}

/// Makes `address` a broadcast address that is accepted here and sent through `device`.
pub(crate) fn add_broadcast(address: Ipv4Addr, source: Ipv4Addr, device: &str) -> Result<(), LinkError> {
    let route = Route { destination: Ipv4Net::from(address).into(), device: index(device)?, source: source.into() };
    add(&route.destination, RouteNetlinkMessage::NewRoute(route.broadcast()))
}

/// Makes the route of a mesh network lead into `device`, be it there already or not.
pub(crate) fn replace_sourced_route(destination: IpNet, source: IpAddr, device: &str) -> Result<(), LinkError> {
    let route = Route { destination, device: index(device)?, source };
    let request = RouteNetlinkMessage::NewRoute(route.unicast());
    attempt("add route", destination, netlink::change(request, NLM_F_CREATE | NLM_F_REPLACE))
}

/// Makes `destination` unreachable where no route of a lower metric leads there.
pub(crate) fn block(destination: IpNet, metric: u32) -> Result<(), LinkError> {
    let request = RouteNetlinkMessage::NewRoute(netlink::unreachable(destination, metric));
    attempt("block", destination, netlink::change(request, NLM_F_CREATE | NLM_F_REPLACE))
}

/// Addresses of a link, of both families, each with the prefix of its subnet.
pub(crate) fn addresses(name: &str) -> Result<Vec<IpNet>, LinkError> {
    attempt("list the addresses of", name, netlink::addresses(index(name)?))
}

/// Takes an address from a link.
pub(crate) fn delete_address(name: &str, address: IpNet) -> Result<(), LinkError> {
    let request = netlink::without_address(index(name)?, address);
    attempt("take an address from", name, netlink::change(request, 0))
}

/// What a link is called beside its name.
pub(crate) fn alias(name: &str) -> Result<Option<String>, LinkError> {
    let link = attempt("describe", name, netlink::describe(name))?;
    Ok(link.attributes.into_iter().find_map(|attribute| {
        let LinkAttribute::IfAlias(alias) = attribute else { return None };
        Some(alias)
    }))
}

/// Calls a link something beside its name.
pub(crate) fn set_alias(name: &str, alias: &str) -> Result<(), LinkError> {
    set(name, "set the alias of", LinkAttribute::IfAlias(alias.to_owned()))
}

/// Changes one attribute of a link.
pub(crate) fn set(name: &str, what: &'static str, attribute: LinkAttribute) -> Result<(), LinkError> {
    let message = netlink::link(index(name)?, vec![attribute]);
    attempt(what, name, netlink::change(RouteNetlinkMessage::SetLink(message), 0))
}

fn add(destination: &impl ToString, request: RouteNetlinkMessage) -> Result<(), LinkError> {
    attempt("add route", destination.to_string(), netlink::change(request, CREATE))
}

fn index(name: &str) -> Result<u32, LinkError> {
    attempt("find link", name, nix::net::if_::if_nametoindex(name).map_err(io::Error::from))
}

pub(crate) fn attempt<T>(
    attempt: &'static str,
    subject: impl ToString,
    outcome: io::Result<T>,
) -> Result<T, LinkError> {
    outcome.map_err(|source| LinkError { attempt, subject: subject.to_string(), source })
}

/// Flags of a request that makes something new.
pub(crate) const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;
