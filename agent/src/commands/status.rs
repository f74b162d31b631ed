use std::fmt::Write as _;
use std::time::Duration;

use super::print;
use crate::status::{Flow, Status};

/// Prints what the node with this device says of itself.
pub(super) fn show(device: &str, json: bool, watch: bool) -> anyhow::Result<()> {
    let mut before: Option<Status> = None;
    loop {
        let status = Status::ask(device)?;
        if json {
            print(&format!("{}\n", serde_json::to_string(&status)?))?;
        } else {
            let clear = if watch { "\x1b[2J\x1b[H" } else { "" };
            print(&format!("{clear}{}", render(&status, before.as_ref())))?;
        }
        if !watch {
            return Ok(());
        }
        before = Some(status);
        std::thread::sleep(INTERVAL);
    }
}

fn render(status: &Status, before: Option<&Status>) -> String {
    let mut text = String::new();
    let health = if status.healthy { "healthy" } else { "unhealthy: no members, or the device is down" };
    let _infallible = writeln!(
        text,
        "node {}  {health}  up {}  tunmesh {}\n{} {} in {}  mtu {}  control {}  memory {:.1} MB",
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
    let _infallible = writeln!(text, "device: {} in, {} out", flow(&status.tun_rx), flow(&status.tun_tx));
    let _infallible = writeln!(text, "drops:  {}", drops(&status.drops));
    let _infallible = writeln!(
        text,
        "\n{:<36} {:<18} {:<5} {:>7} {:>8} {:>9} {:>12} {:>12} {:>7}",
        "PEER", "ADDRESS", "PATH", "SEEN", "SESSION", "ANSWER", "SENT", "RECEIVED", "FAULTS"
    );
    for peer in &status.peers {
        let earlier = before.and_then(|status| status.peers.iter().find(|other| other.node_id == peer.node_id));
        let moved = |now: Flow, then: Option<Flow>| match then {
            Some(then) => rate(now.bytes.saturating_sub(then.bytes)),
            None => volume(now.bytes),
        };
        let _infallible = writeln!(
            text,
            "{:<36} {:<18} {:<5} {:>7} {:>8} {:>9} {:>12} {:>12} {:>7}",
            peer.node_id,
            peer.address,
            peer.path,
            age(peer.last_seen_secs),
            peer.session_secs.map_or_else(|| "none".into(), age),
            peer.answer_micros.map_or_else(|| "-".into(), |micros| format!("{:.2} ms", micros as f64 / 1e3)),
            moved(peer.tx, earlier.map(|peer| peer.tx)),
            moved(peer.rx, earlier.map(|peer| peer.rx)),
            peer.faults,
        );
    }
    if status.peers.is_empty() {
        text.push_str("no members yet\n");
    }
    text
}

fn drops(drops: &std::collections::BTreeMap<String, u64>) -> String {
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

/// Time between two prints of `--watch`.
const INTERVAL: Duration = Duration::from_secs(1);
