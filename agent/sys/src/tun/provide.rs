//! Making a device for somebody else, who has no right to: in a pod's network namespace, by a node helper.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use ipnet::IpNet;

use super::create::{FLAGS, attach_to, check_name, forwards, own, silence_ipv6, taken};
use super::{Tun, TunError, ioctl, offload};
use crate::links::{self, LinkError};

/// How a device for somebody else is to look.
#[derive(Clone, Debug)]
pub struct ProvidedSettings<'a> {
    /// Interface name, 1 to 15 bytes.
    pub name: &'a str,
    /// Whose it is, at most 255 bytes: kept as the alias of the device, and never given to anybody else.
    pub owner: &'a str,
    /// Addresses of the node, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// The networks of the mesh: routed into the device, and nowhere else while there is none.
    pub networks: Vec<IpNet>,
    /// Largest packet in bytes, 68 to 65535.
    pub mtu: u32,
    /// Packets that may wait to be read before the kernel drops further ones.
    pub queue_len: u32,
    /// Segments that a super packet of this host's own connections may have at most.
    pub max_segments: Option<u16>,
    /// Queues to attach, at least 1; without meaning for [`update_provided`].
    pub queues: u16,
}

/// A device for somebody else: what is handed over.
#[derive(Debug)]
pub struct Provided {
    /// Interface name.
    pub name: String,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Whether it was there before.
    pub origin: Origin,
    /// Its queues.
    pub queues: Vec<OwnedFd>,
}

/// Whether a device was there before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// It was, with what an agent that is gone left in it.
    Existed,
    /// It was made just now.
    Fresh,
}

/// All queues of a device that this process made for itself.
impl From<Tun> for Provided {
    fn from(tun: Tun) -> Self {
        let Tun { queues, name, mtu, .. } = tun;
        Self { name, mtu, origin: Origin::Fresh, queues: queues.into_iter().map(OwnedFd::from).collect() }
    }
}

/// Makes the device in the calling thread's network namespace, or attaches to that of the same owner, and puts addresses,
/// routes and MTU right.
///
/// Every device has the same flags: several queues, a virtio header, no packet information. It stays when its last
/// descriptor closes, so that a restarted agent finds it again; only root can attach to it. It is up in the end, not
/// before; and where it is not, the networks of the mesh are unreachable rather than sent to the default route.
///
/// Errors: `Busy` for a device of that name that is another's; nothing was changed then.
pub fn provide(settings: &ProvidedSettings<'_>) -> Result<Provided, TunError> {
    let ProvidedSettings { name, owner, mtu, .. } = *settings;
    check_name(name)?;
    let (first, origin) = match attach_to(name, PROVIDED_FLAGS | libc::IFF_TUN_EXCL) {
        Ok(attached) => (attached, Origin::Fresh),
        Err(TunError::Busy { .. }) => {
            let alias = links::alias(name).map_err(TunError::Configure)?;
            if alias.as_deref() != Some(owner) {
                return Err(TunError::Busy { name: name.to_owned() });
            }
            (attach_to(name, PROVIDED_FLAGS)?, Origin::Existed)
        }
        Err(error) => return Err(error),
    };
    let first = OwnedFd::from(first.queue);
    // Again for one that existed: whoever holds a queue may have changed all of these.
    own(&first).map_err(|error| TunError::ioctl("TUNSETOWNER", error))?;
    ioctl::set_group(&first, 0).map_err(|error| TunError::ioctl("TUNSETGROUP", error))?;
    offload::shorten_header(&first).map_err(|error| TunError::ioctl("TUNSETVNETHDRSZ", error))?;
    configure(settings)?;
    let mut queues = vec![first];
    for _ in 1..settings.queues {
        queues.push(attach_to(name, PROVIDED_FLAGS)?.queue.into());
    }
    // Last: what fails before leaves no device behind.
    ioctl::set_persistent(&queues[0]).map_err(|error| TunError::ioctl("TUNSETPERSIST", error))?;
    Ok(Provided { name: name.to_owned(), mtu, origin, queues })
}

/// Gives a device that [`provide`] made, in the calling thread's network namespace, the networks and the MTU it should have
/// now, while its agent goes on: attaches no queue, and leaves the addresses to the agent's next start, as it sends from
/// those it has.
///
/// Errors: `Absent` without a device of that name, `Busy` for another's; nothing was changed then.
pub fn update_provided(settings: &ProvidedSettings<'_>) -> Result<Provided, TunError> {
    let ProvidedSettings { name, owner, mtu, .. } = *settings;
    match links::alias(name) {
        Ok(alias) if alias.as_deref() == Some(owner) => {}
        Ok(_) => return Err(TunError::Busy { name: name.to_owned() }),
        Err(error) if error.no_link() => return Err(TunError::Absent { name: name.to_owned() }),
        Err(error) => return Err(TunError::Configure(error)),
    }
    block(settings)?;
    resize(settings).map_err(TunError::Configure)?;
    let present = links::addresses(name).map_err(TunError::Configure)?;
    route(settings, &present.iter().map(IpNet::addr).collect::<Vec<_>>())?;
    Ok(Provided { name: name.to_owned(), mtu, origin: Origin::Existed, queues: Vec::new() })
}

fn configure(settings: &ProvidedSettings<'_>) -> Result<(), TunError> {
    block(settings)?;
    prepare(settings).map_err(TunError::Configure)?;
    links::set_up(settings.name).map_err(TunError::Configure)?;
    // Only now: the kernel takes no route through a device that is down.
    route(settings, &settings.addresses)
}

fn block(settings: &ProvidedSettings<'_>) -> Result<(), TunError> {
    for &network in &settings.networks {
        tolerate_no_ipv6(network.addr(), links::block(network, FALLBACK_METRIC)).map_err(TunError::Configure)?;
    }
    Ok(())
}

/// Routes the networks into the device, each from the first of `addresses` that is of its family.
fn route(settings: &ProvidedSettings<'_>, addresses: &[IpAddr]) -> Result<(), TunError> {
    for &network in &settings.networks {
        let source = addresses.iter().find(|address| address.is_ipv4() == network.addr().is_ipv4());
        if let Some(&source) = source {
            let routed = links::replace_sourced_route(network.trunc(), source, settings.name);
            tolerate_no_ipv6(source, routed).map_err(|error| taken(network.trunc(), error))?;
        }
    }
    Ok(())
}

fn resize(settings: &ProvidedSettings<'_>) -> Result<(), LinkError> {
    links::set_mtu(settings.name, settings.mtu)?;
    match settings.max_segments {
        Some(segments) if !forwards() => links::set_max_segments(settings.name, u32::from(segments)),
        Some(_) | None => Ok(()),
    }
}

fn prepare(settings: &ProvidedSettings<'_>) -> Result<(), LinkError> {
    let name = settings.name;
    silence_ipv6(name, !settings.addresses.iter().any(IpAddr::is_ipv6));
    links::set_alias(name, settings.owner)?;
    resize(settings)?;
    links::set_queue_len(name, settings.queue_len)?;
    let present = links::addresses(name)?;
    let wanted: Vec<IpNet> = settings.addresses.iter().copied().map(IpNet::from).collect();
    for address in wanted.iter().filter(|address| !present.contains(address)) {
        tolerate_no_ipv6(address.addr(), links::add_address(name, *address))?;
    }
    // After the new ones are there; the routes that leave from an old one go with it.
    for address in present.iter().filter(|address| !wanted.contains(address)) {
        links::delete_address(name, *address)?;
    }
    Ok(())
}

/// A pod without IPv6 is a member by IPv4 alone.
fn tolerate_no_ipv6(address: IpAddr, outcome: Result<(), LinkError>) -> Result<(), LinkError> {
    match outcome {
        Err(error) if address.is_ipv6() && error.without_ipv6() => Ok(()),
        outcome => outcome,
    }
}

/// The same at every attach: the kernel refuses others for a device that exists.
const PROVIDED_FLAGS: libc::c_int = (FLAGS & !libc::IFF_TUN_EXCL) | libc::IFF_MULTI_QUEUE | libc::IFF_VNET_HDR;

/// Behind every route into the device; that of IPv6 has 1024 if it says nothing.
const FALLBACK_METRIC: u32 = 9999;
