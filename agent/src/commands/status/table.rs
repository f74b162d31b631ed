use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::status::{DatagramStatus, DeviceStatus, Flow, OffloadStatus, PeerStatus, Status};

/// The page for people. With the status of a second `before`, traffic is shown per second.
pub(super) fn render(status: &Status, before: Option<&Status>) -> String {
    let mut text = String::new();
    node(&mut text, status);
    let _infallible = writeln!(
        text,
        "\n{:<36} {:<18} {:<6} {:<10} {:<7} {:>7} {:>7} {:>9} {:>6} {:>7} {:>13} {:>13}",
        "PEER", "ADDRESS", "PATH", "SUITE", "GOSSIP", "SEEN", "KEYS", "RTT", "LOSS", "LARGEST", "SENT", "RECEIVED"
    );
    for peer in &status.peers {
        let earlier = before.and_then(|status| status.peers.iter().find(|other| other.node_id == peer.node_id));
        row(&mut text, peer, earlier);
    }
    if status.peers.is_empty() {
        text.push_str("no members yet\n");
    }
    devices(&mut text, &status.devices, before);
    text
}

fn node(text: &mut String, status: &Status) {
    let health = if status.healthy { "healthy" } else { "unhealthy: no members, or the device is down" };
    let ipv6 = status.address_ipv6.as_ref().map(|address| format!(" and {address}")).unwrap_or_default();
    let _infallible = writeln!(
        text,
        "node {}  {health}  up {}  tunmesh {}\n{} {}{ipv6} in {}  mtu {}  control {}  memory {:.1} MB",
        status.node_id,
        age(status.uptime_secs as f64),
        status.version,
        status.device,
        status.address,
        status.network,
        status.mtu,
        status.listen_url,
        status.resident_bytes as f64 / 1e6,
    );
    let _infallible = writeln!(
        text,
        "device:    {} in, {} out; {}; {} packet threads",
        flow(&status.tun_rx),
        flow(&status.tun_tx),
        offloads(status.offloads),
        status.packet_threads,
    );
    let _infallible =
        writeln!(text, "datagrams: {}", status.datagrams.as_ref().map_or_else(|| "none".into(), datagrams));
    if let Some(gossip) = &status.gossip {
        let _infallible = writeln!(
            text,
            "gossip:    members {}, suspect {}; {} datagrams in, {} out, {} refused; {} of {} probes failed",
            gossip.members,
            gossip.suspects,
            gossip.datagrams_received,
            gossip.datagrams_sent,
            gossip.datagrams_refused,
            gossip.probes_failed,
            gossip.probes,
        );
    }
    let _infallible = writeln!(text, "drops:     {}", drops(&status.drops));
}

fn row(text: &mut String, peer: &PeerStatus, earlier: Option<&PeerStatus>) {
    let is_sealed = peer.suite.is_some();
    let keys = if is_sealed { peer.handshake_secs } else { peer.session_secs };
    let round_trip = if is_sealed { peer.round_trip_micros } else { peer.answer_micros };
    let none = || "-".to_owned();
    let _infallible = writeln!(
        text,
        "{:<36} {:<18} {:<6} {:<10} {:<7} {:>7} {:>7} {:>9} {:>6} {:>7} {:>13} {:>13}",
        peer.node_id,
        peer.address,
        peer.path,
        peer.suite.as_deref().unwrap_or("-"),
        peer.gossip.as_deref().unwrap_or("v0 only"),
        age(peer.last_seen_secs),
        keys.map_or_else(none, age),
        round_trip.map_or_else(none, |micros| format!("{:.2} ms", micros as f64 / 1e3)),
        peer.loss_percent.map_or_else(none, |percent| format!("{percent:.1} %")),
        if is_sealed { peer.largest_packet.to_string() } else { none() },
        moved(peer.tx, earlier.map(|peer| peer.tx)),
        moved(peer.rx, earlier.map(|peer| peer.rx)),
    );
    if !peer.drops.is_empty() || peer.faults > 0 {
        let _infallible = writeln!(text, "    drops: {}; faults: {}", drops(&peer.drops), peer.faults);
    }
}

fn devices(text: &mut String, devices: &[DeviceStatus], before: Option<&Status>) {
    if devices.is_empty() {
        return;
    }
    let _infallible = writeln!(
        text,
        "\n{:<18} {:<44} {:<9} {:<28} {:>7} {:>13} {:>13}",
        "WIREGUARD DEVICE", "ADDRESS", "CONNECTED", "ENDPOINT", "KEYS", "SENT", "RECEIVED"
    );
    for device in devices {
        let earlier = before.and_then(|status| status.devices.iter().find(|other| other.name == device.name));
        let _infallible = writeln!(
            text,
            "{:<18} {:<44} {:<9} {:<28} {:>7} {:>13} {:>13}",
            device.name,
            device.addresses.join(" "),
            if device.connected { "yes" } else { "no" },
            device.endpoint.as_deref().unwrap_or("-"),
            device.handshake_secs.map_or_else(|| "-".to_owned(), age),
            moved(device.tx, earlier.map(|device| device.tx)),
            moved(device.rx, earlier.map(|device| device.rx)),
        );
        if !device.drops.is_empty() {
            let _infallible = writeln!(text, "    drops: {}", drops(&device.drops));
        }
    }
}

/// Traffic since the start, or per second since `then`.
fn moved(now: Flow, then: Option<Flow>) -> String {
    match then {
        Some(then) => rate(now.bytes.saturating_sub(then.bytes)),
        None => volume(now.bytes),
    }
}

fn offloads(offloads: OffloadStatus) -> String {
    let of = |protocol: &str, on: bool| {
        if on { format!("{protocol} in runs") } else { format!("{protocol} in single packets") }
    };
    if offloads.header {
        format!("{}, {}", of("TCP", offloads.tcp), of("UDP", offloads.udp))
    } else {
        "single packets".into()
    }
}

fn datagrams(udp: &DatagramStatus) -> String {
    let runs = |segments: usize, way: &str| {
        if segments > 1 { format!("runs of {segments} {way}") } else { format!("single packets {way}") }
    };
    let endpoints = if udp.endpoints.is_empty() { "others learn where".to_owned() } else { udp.endpoints.join(" ") };
    format!(
        "UDP port {}, reached at {endpoints}; {}, {}",
        udp.port,
        runs(udp.segments_sent, "out"),
        runs(udp.segments_received, "in")
    )
}

fn drops(drops: &BTreeMap<String, u64>) -> String {
    if drops.is_empty() {
        return "none".into();
    }
    drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
}

fn flow(flow: &Flow) -> String {
    format!("{} packets, {}", flow.packets, volume(flow.bytes))
}

fn age(secs: f64) -> String {
    match secs {
        secs if secs < 60.0 => format!("{secs:.0} s"),
        secs if secs < 3600.0 => format!("{:.0} min", secs / 60.0),
        secs => format!("{:.1} h", secs / 3600.0),
    }
}

fn volume(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn rate(bytes_per_second: u64) -> String {
    format!("{:.2} Mbit/s", bytes_per_second as f64 * 8.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_a_table_of_their_own_where_there_are_any() {
        let flow = |bytes| Flow { packets: 1, bytes };
        let phone = DeviceStatus {
            name: "phone".into(),
            addresses: vec!["192.168.129.70".into(), "fd00::46".into()],
            connected: true,
            endpoint: Some("192.0.2.7:51820".into()),
            handshake_secs: Some(7.0),
            rx: flow(1500),
            tx: flow(0),
            drops: BTreeMap::from([("expired".into(), 3)]),
        };
        let tablet = DeviceStatus {
            name: "tablet".into(),
            connected: false,
            endpoint: None,
            handshake_secs: None,
            drops: BTreeMap::new(),
            ..phone.clone()
        };
        let (mut text, mut nothing) = (String::new(), String::new());
        devices(&mut text, &[phone, tablet], None);
        devices(&mut nothing, &[], None);

        let words: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let addresses = ["192.168.129.70", "fd00::46"];
        assert_eq!(
            words[2][..],
            ["phone", addresses[0], addresses[1], "yes", "192.0.2.7:51820", "7", "s", "0", "B", "1.5", "kB"]
        );
        assert_eq!(words[3][..], ["drops:", "expired", "3"]);
        assert_eq!(words[4][..], ["tablet", addresses[0], addresses[1], "no", "-", "-", "0", "B", "1.5", "kB"]);
        assert_eq!(nothing, "");
    }

    #[test]
    fn a_kernel_that_moves_packets_one_by_one_is_called_so() {
        let cases = [
            ((false, false, false), "single packets"),
            ((true, false, false), "TCP in single packets, UDP in single packets"),
            ((true, true, false), "TCP in runs, UDP in single packets"),
            ((true, true, true), "TCP in runs, UDP in runs"),
        ];
        for ((header, tcp, udp), expected) in cases {
            assert_eq!(offloads(OffloadStatus { header, tcp, udp }), expected);
        }
        let socket = |segments_sent, segments_received| DatagramStatus {
            port: 4567,
            endpoints: vec!["192.0.2.1:4567".into()],
            segments_sent,
            segments_received,
        };
        assert_eq!(
            datagrams(&socket(64, 1)),
            "UDP port 4567, reached at 192.0.2.1:4567; runs of 64 out, single packets in"
        );
        assert!(datagrams(&socket(1, 64)).ends_with("single packets out, runs of 64 in"));
    }
}
