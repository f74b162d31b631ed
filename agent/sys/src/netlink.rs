//! Blocking rtnetlink: one request, one acknowledgement.

use std::io;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Sends `request` in the calling thread's network namespace and waits until the kernel has done it.
///
/// `flags` are the `NLM_F_*` beside REQUEST and ACK. The error is the kernel's error number.
pub(crate) fn change(request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let NetlinkPayload::Error(ErrorMessage { code: None, .. }) = exchange(request, NLM_F_ACK | flags)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(())
}

/// Asks for link `name` in the calling thread's network namespace; needs no capability.
pub(crate) fn describe(name: &str) -> io::Result<LinkMessage> {
    let wanted = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
    let answer = exchange(RouteNetlinkMessage::GetLink(link(0, wanted)), 0)?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(link)
}

/// Message that changes link `index`.
pub(crate) fn link(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    message
}

/// Message that brings link `index` up.
pub(crate) fn link_up(index: u32) -> RouteNetlinkMessage {
    let mut message = link(index, Vec::new());
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = LinkFlags::Up;
    RouteNetlinkMessage::SetLink(message)
}

/// Message that gives link `index` an address, with the broadcast address of the address' own subnet where it has one.
///
/// An IPv6 address can be used at once: nobody is asked whether he has it too (RFC 4862 section 5.4), as those who assign
/// the addresses of a mesh know. Asked, the kernel would refuse the address as the source of a route for a moment.
pub(crate) fn address(index: u32, address: IpNet) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    match address {
        IpNet::V4(subnet) if has_broadcast(subnet) => {
            message.attributes.push(AddressAttribute::Broadcast(subnet.broadcast()));
        }
        IpNet::V4(_) => {}
        IpNet::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
    }
    RouteNetlinkMessage::NewAddress(message)
}

/// Message that takes an address from link `index`.
pub(crate) fn without_address(index: u32, address: IpNet) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    RouteNetlinkMessage::DelAddress(message)
}

/// Asks for the addresses of link `index`; needs no capability.
pub(crate) fn addresses(index: u32) -> io::Result<Vec<IpNet>> {
    let mut found = Vec::new();
    dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |answer| {
        let RouteNetlinkMessage::NewAddress(message) = answer else { return };
        if message.header.index != index {
            return;
        }
        let find = |which: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(which);
        let local = find(|attribute| {
            let AddressAttribute::Local(address) = attribute else { return None };
            Some(*address)
        });
        // IPv6 has only the one.
        let address = local.or_else(|| {
            find(|attribute| {
                let AddressAttribute::Address(address) = attribute else { return None };
                Some(*address)
            })
        });
        found.extend(address.and_then(|address| IpNet::new(address, message.header.prefix_len).ok()));
    })?;
    Ok(found)
}

fn family(net: IpNet) -> AddressFamily {
    match net {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    }
}

/// Whether the last address of the subnet is a broadcast address; RFC 3021 takes it away from a /31.
pub(crate) fn has_broadcast(subnet: Ipv4Net) -> bool {
    subnet.prefix_len() <= 30
}

/// A route of this host, to what is on the link of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) destination: IpNet,
    pub(crate) device: u32,
    /// Address local sockets send from, if they chose none.
    pub(crate) source: IpAddr,
}

impl Route {
    /// A route in the main table.
    pub(crate) fn unicast(&self) -> RouteMessage {
        self.message(RouteType::Unicast, RouteHeader::RT_TABLE_MAIN)
    }

    /// A route in table local that makes the destination a broadcast address: accepted here, sent to all.
    pub(crate) fn broadcast(&self) -> RouteMessage {
        self.message(RouteType::Broadcast, libc::RT_TABLE_LOCAL)
    }

    fn message(&self, kind: RouteType, table: u8) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.destination);
        message.header.destination_prefix_length = self.destination.prefix_len();
        message.header.table = table;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Link;
        message.header.kind = kind;
        message.attributes = vec![
            RouteAttribute::Destination(self.destination.network().into()),
            RouteAttribute::Oif(self.device),
            RouteAttribute::PrefSource(self.source.into()),
        ];
        message
    }
}

/// A route in the main table that has packets answered with an error.
pub(crate) fn unreachable(destination: IpNet, metric: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unreachable;
    message.attributes =
        vec![RouteAttribute::Destination(destination.network().into()), RouteAttribute::Priority(metric)];
    message
}

/// Sends one request and returns the first answer; the kernel's refusal is an error.
fn exchange(request: RouteNetlinkMessage, flags: u16) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
    let socket = ask(request, flags)?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    receive(&socket, &mut answer)?;
    let answer = parse(&answer)?;
    if let NetlinkPayload::Error(error @ ErrorMessage { code: Some(_), .. }) = &answer.payload {
        return Err(error.to_io());
    }
    Ok(answer.payload)
}

/// Sends one request for a list and shows every entry.
fn dump(request: RouteNetlinkMessage, mut show: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
    let socket = ask(request, NLM_F_DUMP)?;
    let mut answers = Vec::with_capacity(ANSWER_BYTES);
    loop {
        answers.clear();
        receive(&socket, &mut answers)?;
        let mut rest = &answers[..];
        while !rest.is_empty() {
            let answer = parse(rest)?;
            if let NetlinkPayload::Done(_) = answer.payload {
                return Ok(());
            }
            if let NetlinkPayload::Error(error) = answer.payload {
                return Err(error.to_io());
            }
            if let NetlinkPayload::InnerMessage(entry) = answer.payload {
                show(entry);
            }
            // Messages are aligned to 4 bytes; one of length 0 would be no message.
            let len = usize::try_from(answer.header.length).ok().and_then(|len| len.checked_next_multiple_of(4));
            rest = len.filter(|len| *len > 0).and_then(|len| rest.get(len..)).unwrap_or_default();
        }
    }
}

fn ask(request: RouteNetlinkMessage, flags: u16) -> io::Result<Socket> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    Ok(socket)
}

fn receive(socket: &Socket, answer: &mut Vec<u8>) -> io::Result<()> {
    while let Err(error) = socket.recv(answer, 0) {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

fn parse(answer: &[u8]) -> io::Result<NetlinkMessage<RouteNetlinkMessage>> {
    NetlinkMessage::deserialize(answer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Room for the description of a link, or for an acknowledgement, which repeats the request.
const ANSWER_BYTES: usize = 32 << 10;
