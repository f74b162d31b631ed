//! Making and configuring a device of our own.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use ipnet::Ipv4Net;
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};
use nix::errno::Errno;
use nix::unistd::geteuid;

use super::{Tun, TunError, ioctl};
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

/// Makes a device in the calling thread's network namespace, with addresses and routes, up.
///
/// The device lasts as long as the returned value (its last descriptor) and takes its addresses and routes with it.
/// Nobody else may attach to it. IPv6 is off on it as far as the host allows. The broadcast addresses of the node's
/// subnet and of the whole mesh are accepted locally.
pub fn create(settings: &TunSettings<'_>) -> Result<Tun, TunError> {
    check_name(settings.name)?;
    let file = open()?;
    let name = match ioctl::attach(file.as_fd(), settings.name, FLAGS) {
        Err(Errno::EBUSY) => return Err(TunError::Busy { name: settings.name.to_owned() }),
        Err(Errno::EPERM) => return Err(TunError::NotPermitted { name: settings.name.to_owned() }),
        attached => attached.map_err(|error| TunError::ioctl("TUNSETIFF", error))?,
    };
    own(&file).map_err(|error| TunError::ioctl("TUNSETOWNER", error))?;
    let tun = Tun { fd: file.into(), name, mtu: settings.mtu };
    prepare(settings).map_err(TunError::Configure)?;
    links::set_up(settings.name).map_err(TunError::Configure)?;
    // Only now: the kernel takes no route through a device that is down.
    route(settings)?;
    Ok(tun)
}

fn check_name(name: &str) -> Result<(), TunError> {
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
fn own(file: &File) -> Result<(), Errno> {
    match ioctl::set_owner(file.as_fd(), 0) {
        Err(Errno::EINVAL) => ioctl::set_owner(file.as_fd(), geteuid().as_raw()),
        owned => owned,
    }
}

fn prepare(settings: &TunSettings<'_>) -> Result<(), LinkError> {
    let name = settings.name;
    silence_ipv6(name);
    links::set_mtu(name, settings.mtu)?;
    links::set_queue_len(name, settings.queue_len)?;
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

/// Without this the kernel sends router solicitations and multicast reports into the mesh as soon as the device is up.
/// Best effort, twice: the switch is read-only in most containers, the other is absent where the host has no IPv6.
fn silence_ipv6(name: &str) {
    let no_link_local = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let _absent_without_ipv6 = links::set(name, "silence", LinkAttribute::AfSpecUnspec(vec![no_link_local]));
    let _read_only_in_containers = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
}

fn route(settings: &TunSettings<'_>) -> Result<(), TunError> {
    let source = settings.address.addr();
    // The kernel has made the routes to the subnets of the addresses itself, and to their broadcast addresses.
    let subnets: Vec<Ipv4Net> = [settings.address].iter().chain(settings.extra_addresses).map(Ipv4Net::trunc).collect();
    let mut routed = subnets.clone();
    for destination in [settings.network].iter().chain(settings.routes).map(Ipv4Net::trunc) {
        if !routed.contains(&destination) {
            links::add_sourced_route(destination, source, settings.name).map_err(|error| taken(destination, error))?;
            routed.push(destination);
        }
    }
    let broadcast = settings.network.broadcast();
    let has_route = |subnet: &Ipv4Net| has_broadcast(*subnet) && subnet.broadcast() == broadcast;
    if has_broadcast(settings.network) && !subnets.iter().any(has_route) {
        links::add_broadcast(broadcast, source, settings.name).map_err(|error| taken(broadcast.into(), error))?;
    }
    Ok(())
}

fn taken(destination: Ipv4Net, error: LinkError) -> TunError {
    if error.already_there() { TunError::RouteTaken { destination } } else { TunError::Configure(error) }
}

const DEVICE_FILE: &str = "/dev/net/tun";

/// `IFF_TUN_EXCL`: never attach to a device that exists, whoever made it.
const FLAGS: libc::c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL;

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
