//! What the original did with recorded packets, against what the route table says to the same bytes.

mod support;

use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;
use tunmesh_mesh::{DropReason, Node, Outbound, Proof, RouteTable, Settings};
use tunmesh_protocol::Member;

use support::{registration, url};

#[test]
fn every_recorded_packet_that_could_be_read_ends_as_it_did_at_the_original() {
    let mut ends = std::collections::BTreeMap::<String, u32>::new();
    for case in cases("packet") {
        let [exchange] = case["exchanges"].as_array().expect("a list").as_slice() else {
            continue;
        };
        let Some((ethertype, packet)) = packet(&exchange["request"]["body_text"]) else {
            continue;
        };
        let status = exchange["response"]["status"].as_u64().expect("a number");
        let expected = match dropped(&case) {
            Some(reason) => Err(reason),
            None if case["metric_deltas"]["tun_tx_packets"] == 1.0 => Ok(()),
            // It reached the router, which failed on it.
            None if status == 500 && case["metric_deltas"]["remote_rx_packets"] == 1.0 && packet.len() < 1980 => {
                Err("malformed")
            }
            None => continue,
        };

        let sender = table_for(&case["exchanges"][0], false);
        let outcome = sender.1.inbound_v0(&sender.0.id, ethertype, &packet);

        assert_eq!(outcome.map(|_| ()).map_err(DropReason::as_str), expected, "packet/{}", case["name"]);
        *ends.entry(expected.err().unwrap_or("ok").into()).or_default() += 1;
    }

    for end in ["ok", "config_prohibited", "malformed", "misrouted", "no_return_route", "route_conflict", "unsupported"]
    {
        assert!(ends.contains_key(end), "{end} was not seen: {ends:?}");
    }
    assert!(ends.values().sum::<u32>() >= 30, "{ends:?}");
}

#[test]
fn every_recorded_broadcast_ends_as_it_did_at_the_original_but_for_that_to_the_subnet() {
    let mut seen = 0;
    for case in cases("broadcast") {
        let name = case["name"].as_str().expect("text");
        let exchange = &case["exchanges"][0];
        let enabled = !name.starts_with("off_");
        if name.starts_with("rx_") {
            let (ethertype, packet) = packet(&exchange["request"]["body_text"]).expect("a packet");
            let (sender, table) = table_for(exchange, true);
            assert!(table.inbound_v0(&sender.id, ethertype, &packet).is_ok(), "{name}");
        } else {
            let destination = exchange["sent_from_tun_host_to"].as_str().expect("text");
            let (_, table) = table_for(exchange, enabled);
            let packet = ipv4("192.168.129.10", destination);
            let header = tunmesh_packet::parse(&packet).expect("a packet");
            let reached = table.outbound(&header).map(|to| match to {
                Outbound::Broadcast(ids) => ids.iter().map(|id| id.as_str()).collect(),
                Outbound::Unicast(id) => vec![id.as_str()],
            });
            let counts = ["near", "far"].map(|id| reached.iter().flatten().filter(|to| **to == id).count());
            let recorded = ["packets_reaching_peer_in_same_26", "packets_reaching_peer_outside_26"];
            if name == "tx_local_broadcast" {
                assert_eq!(reached, Ok(vec!["near"]), "the original drops it as unsupported");
            } else {
                assert_eq!(
                    counts.map(|count| count as u64),
                    recorded.map(|key| exchange[key].as_u64().expect("a number"))
                );
                // A case without a way out counts one drop for it; some count IPv6 noise of the host besides.
                if let Err(reason) = reached {
                    assert_eq!(case["metric_deltas"][format!("dropped_packets{{reason={reason}}}")], 1.0, "{name}");
                }
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 16);
}

/// The recorded mesh as the receiver saw it, and the sender of `exchange`.
fn table_for(exchange: &Value, enable_broadcast: bool) -> (Member, std::sync::Arc<RouteTable>) {
    let path = exchange["request"]["path"].as_str().unwrap_or("near");
    let sender = member(path.rsplit('/').next().expect("a path has a last part"), "192.168.129.40/26");
    let settings = Settings { local: member("local", "192.168.129.10/26"), enable_broadcast, ..support::settings() };
    let now = Instant::now();
    let mut node = Node::new(settings, now);
    for member in [&sender, &member("other", "192.168.129.41/26"), &member("far", "192.168.129.100/26")] {
        let is_broadcast_case = exchange["request"].is_null();
        if member.id.as_str() == "other" && is_broadcast_case {
            continue;
        }
        let proof = Proof { called_back: true, vacated: None, tells_more: false };
        node.accept(&registration(member, &[]), proof, now).expect("nothing speaks against it");
    }
    (sender, node.routes())
}

fn member(name: &str, address: &str) -> Member {
    Member {
        listen_url: url(&format!("https://{name}")),
        network: "192.168.129.0/24".parse().expect("a network"),
        ..support::member(name, address)
    }
}

fn cases(group: &str) -> Vec<Value> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/vectors/tunmesh-v0/probe").join(group);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the cases are there").map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    let read = |path: &PathBuf| serde_json::from_str(&std::fs::read_to_string(path).expect("readable")).expect("JSON");
    paths.iter().map(read).filter(|case: &Value| case["metric_deltas"].is_object()).collect()
}

/// The one reason the original counted a drop under.
fn dropped(case: &Value) -> Option<&str> {
    let deltas = case["metric_deltas"].as_object()?;
    deltas.keys().find_map(|key| key.strip_prefix("dropped_packets{reason=")?.strip_suffix('}'))
}

/// Ethertype and data of a packet message, if it is one.
fn packet(body: &Value) -> Option<(u16, Vec<u8>)> {
    let message: Value = serde_json::from_str(body.as_str()?).ok()?;
    let ethertype = message["ethertype"].as_u64()?.try_into().ok()?;
    Some((ethertype, unbase64(message["b64_data"].as_str()?)?))
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = vec![];
    let (mut bits, mut count) = (0u32, 0);
    for digit in text.bytes().filter(|byte| !b"\r\n=".contains(byte)) {
        bits = bits << 6 | u32::try_from(DIGITS.iter().position(|known| *known == digit)?).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

/// A header without payload.
fn ipv4(source: &str, destination: &str) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0];
    for address in [source, destination] {
        packet.extend(address.parse::<std::net::Ipv4Addr>().expect("an address").octets());
    }
    packet
}
