//! What the kernel says of the host's network: routes from `/proc/net`, the MTU towards an address from a socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::facts::{HostRoute, Uplink};

/// Routes of the network namespace of this process; what cannot be read has none.
pub(super) fn routes() -> Vec<HostRoute> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut routes = ipv4_routes(&read("/proc/thread-self/net/route"));
    routes.extend(ipv6_routes(&read("/proc/thread-self/net/ipv6_route")));
    routes
}

/// How datagrams leave towards `target`, if they leave this host.
pub(super) fn uplink(target: IpAddr, routes: &[HostRoute]) -> io::Result<Option<Uplink>> {
    if target.is_loopback() {
        return Ok(None);
    }
    let any = if target.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // Sends nothing; the port is of no matter.
    socket.connect(SocketAddr::new(target, DISCARD))?;
    let mtu = tunmesh_sys::path_mtu(&socket)?;
    let leads_there = |route: &&HostRoute| route.destination.contains(&target);
    let route = routes.iter().filter(leads_there).max_by_key(|route| route.destination.prefix_len());
    let device = route.map_or_else(|| "the outgoing interface".into(), |route| route.device.clone());
    Ok(Some(Uplink { target, device, mtu }))
}

/// `/proc/net/route`: one line per route after the title; device, destination and, as the eighth word, the mask, both
/// hexadecimal in the host's byte order.
fn ipv4_routes(text: &str) -> Vec<HostRoute> {
    let route = |line: &str| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let address = |word: &str| Some(Ipv4Addr::from(u32::from_str_radix(word, 16).ok()?.to_ne_bytes()));
        let destination = Ipv4Net::with_netmask(address(words.get(1)?)?, address(words.get(7)?)?).ok()?;
        Some(HostRoute { device: (*words.first()?).to_owned(), destination: destination.into() })
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// `/proc/net/ipv6_route`: destination, its prefix length, …, flags as the ninth word, device; all hexadecimal. Our own
/// addresses, multicast and link-local networks are on every link and are left out.
fn ipv6_routes(text: &str) -> Vec<HostRoute> {
    let route = |line: &str| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let address = Ipv6Addr::from(u128::from_str_radix(words.first()?, 16).ok()?);
        let destination = Ipv6Net::new(address, u8::from_str_radix(words.get(1)?, 16).ok()?).ok()?;
        let flags = u32::from_str_radix(words.get(8)?, 16).ok()?;
        let is_on_every_link = address.is_multicast() || address.is_unicast_link_local();
        if flags & (RTF_LOCAL | RTF_REJECT) != 0 || is_on_every_link {
            return None;
        }
        Some(HostRoute { device: (*words.get(9)?).to_owned(), destination: IpNet::V6(destination) })
    };
    text.lines().filter_map(route).collect()
}

/// Flag of a route to an address of this host.
const RTF_LOCAL: u32 = 0x8000_0000;

/// Flag of a route that refuses.
const RTF_REJECT: u32 = 0x0200;

/// Port at which nobody answers (RFC 863).
pub(super) const DISCARD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_the_kernel_writes_them() {
        let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let line = |device: &str, destination, mask| {
            format!("{device}\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0  \n", hex(destination), hex(mask))
        };
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n".to_owned()
            + &line("eth0", [0; 4], [0; 4])
            + &line("eth1", [10, 20, 0, 0], [255, 255, 0, 0])
            + "scrap\n";

        assert_eq!(ipv4_routes(&text), [route("eth0", "0.0.0.0/0"), route("eth1", "10.20.0.0/16")]);
    }

    #[test]
    fn of_ipv6_routes_those_to_other_networks_count() {
        let line = |destination: &str, flags: &str, device: &str| {
            format!(
                "{destination} 00000000000000000000000000000000 00 {} 00000100 1 0 {flags} {device}\n",
                "0".repeat(32)
            )
        };
        let text = line("fd000000000000000000000000000000 40", "00000001", "eth0")
            + &line("fd000000000000000000000000000002 80", "80200001", "eth0")
            + &line("fe800000000000000000000000000000 40", "00000001", "eth0")
            + &line("ff000000000000000000000000000000 08", "00000001", "eth0")
            + &line("00000000000000000000000000000000 00", "00200200", "lo");

        assert_eq!(ipv6_routes(&text), [route("eth0", "fd00::/64")]);
    }

    fn route(device: &str, destination: &str) -> HostRoute {
        HostRoute { device: device.into(), destination: destination.parse().unwrap() }
    }
}
