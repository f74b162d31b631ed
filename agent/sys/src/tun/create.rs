//! Making and configuring a device of our own.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};
use nix::errno::Errno;
use nix::unistd::geteuid;

use super::{Offloads, Queue, Tun, TunError, ioctl, offload};
use crate::links::{self, LinkError};
use crate::netlink::has_broadcast;

/// How a device is to look.
#[derive(Clone, Debug)]
pub struct TunSettings<'a> {
    /// Interface name, 1 to 15 bytes.
    pub name: &'a str,
    /// Address of this node with the prefix of its subnet, such as 192.168.129.10/26.
    pub address: Ipv4Net,
    /// The whole mesh, routed into the device.
    pub network: Ipv4Net,
    /// Further addresses of this node.
    pub extra_addresses: &'a [Ipv4Net],
    /// Further networks routed into the device.
    pub routes: &'a [Ipv4Net],
    /// Largest packet in bytes, 68 to 65535.
    pub mtu: u32,
    /// Packets that may wait to be read before the kernel drops further ones.
    pub queue_len: u32,
}

/// What a device has beyond one queue of complete IPv4 packets. Default: nothing.
#[derive(Clone, Debug, Default)]
pub struct Features<'a> {
    /// Queues, 1 to 256; 0 counts as 1.
    pub queues: usize,
    /// Whether checksums and segmentation may be left undone, as far as the kernel can; see [`Tun::offloads`].
    pub offload: bool,
    /// Segments that a super packet of this host's own connections has at most. A host that forwards packets is not limited:
    /// what it forwards was joined elsewhere, and would come cut to single packets if it had more.
    pub max_segments: Option<u32>,
    /// IPv6 addresses of this node with the prefix of their subnet, such as fd00::a/64. Left out where the host has
    /// IPv6 off for the device, see [`Tun::ipv6_skipped`]. Without any, IPv6 is off on it as far as the host allows.
    pub ipv6_addresses: &'a [Ipv6Net],
    /// IPv6 networks routed into the device, beside the subnets of the addresses.
    pub ipv6_routes: &'a [Ipv6Net],
}

/// Makes a device of one queue without any further feature; see [`create_with`].
pub fn create(settings: &TunSettings<'_>) -> Result<Tun, TunError> {
    create_with(settings, &Features::default())
}

/// Makes a device in the calling thread's network namespace, with addresses and routes, up.
///
/// The device lasts as long as the returned value (its last descriptor) and takes its addresses and routes with it.
/// Nobody else may attach to it. The broadcast addresses of the node's subnet and of the whole mesh are accepted
/// locally.
pub fn create_with(settings: &TunSettings<'_>, features: &Features<'_>) -> Result<Tun, TunError> {
    check_name(settings.name)?;
    let flags = if features.queues > 1 { FLAGS | libc::IFF_MULTI_QUEUE } else { FLAGS };
    let Attached { queue, name, flags } = attach(settings.name, flags, features.offload)?;
    own(&queue).map_err(|error| TunError::ioctl("TUNSETOWNER", error))?;
    let has_header = flags & libc::IFF_VNET_HDR != 0;
    let offloads = if has_header { offload::negotiate(queue.as_fd()) } else { Offloads::default() };
    let mut queues = vec![queue];
    for _ in 1..features.queues {
        queues.push(attach_to(&name, flags & !libc::IFF_TUN_EXCL)?.queue);
    }
    prepare(settings, features).map_err(TunError::Configure)?;
    links::set_up(settings.name).map_err(TunError::Configure)?;
    // Only now: the kernel takes no route through a device that is down.
    route(settings)?;
    let ipv6_skipped = !add_ipv6(settings, features)?;
    Ok(Tun { queues, name, mtu: settings.mtu, offloads, ipv6_skipped })
}

pub(super) struct Attached {
    pub(super) queue: Queue,
    name: String,
    flags: libc::c_int,
}

/// Makes the device, with a virtio header if `offload` and the kernel allow it.
fn attach(name: &str, flags: libc::c_int, offload: bool) -> Result<Attached, TunError> {
    if offload {
        match attach_to(name, flags | libc::IFF_VNET_HDR) {
            Ok(attached) if offload::shorten_header(attached.queue.as_fd()).is_ok() => return Ok(attached),
            // That device is gone again, with its descriptor.
            Ok(_) => {}
            Err(TunError::Ioctl { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(error),
        }
    }
    attach_to(name, flags)
}

pub(super) fn attach_to(name: &str, flags: libc::c_int) -> Result<Attached, TunError> {
    let file = open()?;
    let name = match ioctl::attach(file.as_fd(), name, flags) {
        Err(Errno::EBUSY) => return Err(TunError::Busy { name: name.to_owned() }),
        Err(Errno::EPERM) => return Err(TunError::NotPermitted { name: name.to_owned() }),
        attached => attached.map_err(|error| TunError::ioctl("TUNSETIFF", error))?,
    };
    Ok(Attached { queue: Queue::new(file.into()), name, flags })
}

pub(super) fn check_name(name: &str) -> Result<(), TunError> {
    // The kernel would take '%d' for a request to number the device.
    let refused = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name == "." || name == ".." || name.contains(refused) {
        return Err(TunError::InvalidName { name: name.to_owned() });
    }
    Ok(())
}

fn open() -> Result<File, TunError> {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE_FILE);
    opened.map_err(|source| TunError::DeviceFile { advice: advice(source.raw_os_error()), source })
}

fn advice(errno: Option<i32>) -> &'static str {
    match errno {
        Some(libc::ENOENT) => "load the module (modprobe tun), or give the container the device /dev/net/tun",
        Some(libc::ENODEV | libc::ENXIO) => "the kernel has no TUN driver; load the module (modprobe tun)",
        Some(libc::EACCES) => "run as the owner of the file (root), or have a node helper hand a device over",
        Some(libc::EPERM) => "the container's device rules forbid it; allow the character device 10:200",
        _ => "the kernel refused",
    }
}

/// A device without an owner could be attached by any process that can open the device file. Root of the user
/// namespace becomes the owner, or this user where that namespace has no root.
pub(super) fn own(fd: impl AsFd) -> Result<(), Errno> {
    match ioctl::set_owner(fd.as_fd(), 0) {
        Err(Errno::EINVAL) => ioctl::set_owner(fd.as_fd(), geteuid().as_raw()),
        owned => owned,
    }
}

fn prepare(settings: &TunSettings<'_>, features: &Features<'_>) -> Result<(), LinkError> {
    let name = settings.name;
    silence_ipv6(name, features.ipv6_addresses.is_empty());
    links::set_mtu(name, settings.mtu)?;
    links::set_queue_len(name, settings.queue_len)?;
    if let Some(segments) = features.max_segments
        && !forwards()
    {
        links::set_max_segments(name, segments)?;
    }
    links::add_address(name, settings.address)?;
    let mut given = vec![settings.address.addr()];
    for &extra in settings.extra_addresses {
        if !given.contains(&extra.addr()) {
            links::add_address(name, extra)?;
            given.push(extra.addr());
        }
    }
    Ok(())
}

/// Whether this host passes packets of others on.
pub(super) fn forwards() -> bool {
    let is_on = |switch: &str| fs::read_to_string(switch).is_ok_and(|state| state.trim() != "0");
    is_on("/proc/sys/net/ipv4/ip_forward") || is_on("/proc/sys/net/ipv6/conf/all/forwarding")
}

/// Without this the kernel sends router solicitations and multicast reports into the mesh as soon as the device is up.
/// Best effort, twice: the switch is read-only in most containers, the other is absent where the host has no IPv6.
pub(super) fn silence_ipv6(name: &str, ipv4_only: bool) {
    let no_link_local = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let _absent_without_ipv6 = links::set(name, "silence", LinkAttribute::AfSpecUnspec(vec![no_link_local]));
    if ipv4_only {
        let _read_only_in_containers = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    }
}

/// Returns whether the device has the IPv6 addresses asked for.
fn add_ipv6(settings: &TunSettings<'_>, features: &Features<'_>) -> Result<bool, TunError> {
    let name = settings.name;
    let [first, ..] = features.ipv6_addresses else { return Ok(true) };
    if settings.mtu < IPV6_LEAST_MTU {
        return Ok(false);
    }
    for &address in features.ipv6_addresses {
        match links::add_address(name, address) {
            Err(error) if error.without_ipv6() => return Ok(false),
            added => added.map_err(TunError::Configure)?,
        }
    }
    let mut routed: Vec<Ipv6Net> = features.ipv6_addresses.iter().map(Ipv6Net::trunc).collect();
    for destination in features.ipv6_routes.iter().map(Ipv6Net::trunc) {
        if !routed.contains(&destination) {
            let added = links::add_sourced_route(destination.into(), first.addr().into(), name);
            added.map_err(|error| taken(destination, error))?;
            routed.push(destination);
        }
    }
    Ok(true)
}

fn route(settings: &TunSettings<'_>) -> Result<(), TunError> {
    let source = settings.address.addr();
    // The kernel has made the routes to the subnets of the addresses itself, and to their broadcast addresses.
    let subnets: Vec<Ipv4Net> = [settings.address].iter().chain(settings.extra_addresses).map(Ipv4Net::trunc).collect();
    let mut routed = subnets.clone();
    for destination in [settings.network].iter().chain(settings.routes).map(Ipv4Net::trunc) {
        if !routed.contains(&destination) {
            let added = links::add_sourced_route(destination.into(), source.into(), settings.name);
            added.map_err(|error| taken(destination, error))?;
            routed.push(destination);
        }
    }
    let broadcast = settings.network.broadcast();
    let has_route = |subnet: &Ipv4Net| has_broadcast(*subnet) && subnet.broadcast() == broadcast;
    if has_broadcast(settings.network) && !subnets.iter().any(has_route) {
        links::add_broadcast(broadcast, source, settings.name)
            .map_err(|error| taken(Ipv4Net::from(broadcast), error))?;
    }
    Ok(())
}

pub(super) fn taken(destination: impl Into<IpNet>, error: LinkError) -> TunError {
    if error.already_there() {
        TunError::RouteTaken { destination: destination.into() }
    } else {
        TunError::Configure(error)
    }
}

/// RFC 8200, section 5; the kernel has no IPv6 on a device below.
const IPV6_LEAST_MTU: u32 = 1280;

const DEVICE_FILE: &str = "/dev/net/tun";

/// `IFF_TUN_EXCL`: never attach to a device that exists, whoever made it.
pub(super) const FLAGS: libc::c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_would_refuse_or_rewrite_are_refused() {
        for name in ["", ".", "..", "a/b", "a b", "tun%d", "a:1", "sixteen-bytes-xx", "a\n"] {
            assert!(matches!(check_name(name), Err(TunError::InvalidName { .. })), "{name:?}");
        }
        assert!(check_name("fifteen-bytes-x").is_ok());
    }
}
