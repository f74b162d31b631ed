//! Several namespaces around one with a bridge, for the demonstration and for tests.
//!
//! A veth pair is one object with two ends: deleting either end, or dropping either namespace, takes both.

use std::os::fd::{AsFd, AsRawFd};

use ipnet::Ipv4Net;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};

use crate::links::{CREATE, LinkError, add_address, attach, attempt, bridge, set_up};
use crate::netlink;
use crate::netns::{Netns, NetnsError};

/// Namespaces that reach each other through a bridge in a namespace of its own; gone when dropped.
#[derive(Debug)]
pub struct Star {
    /// Namespace of the bridge `br0`; its ports are `port0`, `port1`, …
    pub hub: Netns,
    /// The namespaces around it in order, each with a device `eth0`.
    pub leaves: Vec<Netns>,
    /// Address of each leaf's `eth0` with the prefix of the network.
    pub addresses: Vec<Ipv4Net>,
}

/// Why a star was not built.
#[derive(Debug, thiserror::Error)]
pub enum StarError {
    /// A namespace or a link of it was refused.
    #[error("failed to connect the namespaces")]
    Netns(#[from] NetnsError),
    /// The network has fewer host addresses than leaves.
    #[error("network {network} is too small for {leaves} nodes")]
    TooSmall {
        /// Network of the star.
        network: Ipv4Net,
        /// Number of leaves asked for.
        leaves: usize,
    },
}

impl Star {
    /// Builds `leaves` namespaces with the first host addresses of `network` and an MTU in bytes.
    pub fn build(network: Ipv4Net, leaves: usize, mtu: u32) -> Result<Self, StarError> {
        let addresses: Vec<Ipv4Net> = network
            .hosts()
            .take(leaves)
            .filter_map(|address| Ipv4Net::new(address, network.prefix_len()).ok())
            .collect();
        if addresses.len() < leaves {
            return Err(StarError::TooSmall { network, leaves });
        }
        let hub = Netns::create()?;
        hub.run(|| bridge("br0"))?.map_err(NetnsError::Link)?;
        let mut star = Self { hub, leaves: Vec::with_capacity(leaves), addresses };
        for number in 0..leaves {
            let leaf = Netns::create()?;
            star.connect(&leaf, number, mtu)?;
            star.leaves.push(leaf);
        }
        Ok(star)
    }

    fn connect(&self, leaf: &Netns, number: usize, mtu: u32) -> Result<(), NetnsError> {
        let port = format!("port{number}");
        let address = Some(self.addresses[number]);
        veth_pair(
            &VethEnd { netns: leaf, name: "eth0", address, mtu },
            &VethEnd { netns: &self.hub, name: &port, address: None, mtu },
        )?;
        self.hub.run(|| attach(&port, "br0"))?.map_err(NetnsError::Link)
    }
}

/// One end of a veth pair.
#[derive(Debug)]
pub struct VethEnd<'a> {
    /// Namespace the end goes to.
    pub netns: &'a Netns,
    /// Device name there, 1 to 15 bytes.
    pub name: &'a str,
    /// Address with the prefix of its subnet.
    pub address: Option<Ipv4Net>,
    /// Largest packet in bytes, 68 to 65535.
    pub mtu: u32,
}

/// Makes two connected Ethernet devices, one in each namespace, with their addresses, both up.
pub fn veth_pair(left: &VethEnd<'_>, right: &VethEnd<'_>) -> Result<(), NetnsError> {
    let peer = InfoVeth::Peer(veth_end(right));
    let mut message = veth_end(left);
    message
        .attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(peer))]));
    attempt("make veth pair", left.name, netlink::change(RouteNetlinkMessage::NewLink(message), CREATE))
        .map_err(NetnsError::Link)?;
    for end in [left, right] {
        end.netns.run(|| configure(end))?.map_err(NetnsError::Link)?;
    }
    Ok(())
}

fn veth_end(end: &VethEnd<'_>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(end.name.to_owned()),
        LinkAttribute::Mtu(end.mtu),
        LinkAttribute::NetNsFd(end.netns.as_fd().as_raw_fd()),
    ];
    message
}

fn configure(end: &VethEnd<'_>) -> Result<(), LinkError> {
    if let Some(address) = end.address {
        add_address(end.name, address)?;
    }
    set_up(end.name)
}
