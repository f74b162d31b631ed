//! An answer in one line, as far as it is to be the same from both: `401 text/plain Unauthorized`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::jwt::{Jwt, sha256_hex};
use super::recording::{Request, Row, text};
use super::session::Session;
use super::wire::Message;

/// Numbers of `/metrics` by name, with the reason of drops.
pub(crate) type Counts = BTreeMap<String, f64>;

/// What the recorded answer amounts to.
pub(crate) fn recorded(row: &Row, exchange: &Value, request: Option<&Request>) -> String {
    let deltas = deltas(
        &row.name,
        row.record["metric_deltas"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_f64().unwrap())),
    );
    let outcome = match request {
        None => raw(exchange),
        Some(request) => {
            let answer = &exchange["response"];
            let summary = text(&row.record["body"]);
            let body = answer["body_text"].as_str().unwrap_or(&summary);
            let content_type = text(&row.record["content_type"]);
            let signed = row.record["signed"] == true;
            describe(&request.path, answer["status"].as_u64().unwrap() as u16, &content_type, body, signed)
        }
    };
    outcome + &deltas
}

/// What an answer of ours amounts to. If it is signed, the signature holds.
pub(crate) fn seen(request: &Request, answer: &Message, signed: bool) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    describe(&request.path, answer.status(), answer.header("content-type").unwrap_or_default(), &body, signed)
}

fn describe(path: &str, status: u16, content_type: &str, body: &str, signed: bool) -> String {
    let mut words = vec![status.to_string()];
    words.extend(content_type.split(';').next().filter(|word| !word.is_empty()).map(str::to_owned));
    let parsed = serde_json::from_str::<Value>(body).unwrap_or_default();
    match (status, path.trim_start_matches('/')) {
        (500.., "health") | (200, "health") if parsed.is_object() => {
            words.push(format!("registered={}", parsed["registrations"]["registered"]));
        }
        (200, "tunmesh/control/v0/registrations") => {
            let nodes: Vec<_> = parsed["nodes"].as_object().unwrap().values().collect();
            let stale = nodes.iter().filter(|node| node["stale"] == true).count();
            words.push(format!("{} members, {stale} stale", nodes.len()));
        }
        (400..409 | 421, _) => words.extend(Some(body.lines().next().unwrap_or_default().chars().take(60).collect())),
        _ if signed => words.push("signed".into()),
        _ => {}
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// What was recorded where there was no HTTP exchange.
fn raw(exchange: &Value) -> String {
    if let Some(answer) = exchange["raw_response"].as_str() {
        return answer.split(' ').nth(1).unwrap_or_default().to_owned();
    }
    if let Some(near) = exchange["packets_reaching_peer_in_same_26"].as_u64() {
        return reached(near as usize, exchange["packets_reaching_peer_outside_26"].as_u64().unwrap() as usize);
    }
    match (exchange["handshake"].as_str(), exchange["plain_http_reply"].as_str()) {
        (Some("ok"), _) => format!("handshake {}", text(&exchange["version"])),
        (Some(_), _) => "handshake refused".into(),
        (None, Some(_)) => "no HTTP".into(),
        (None, None) => format!("ALPN {}", exchange["alpn_selected"]),
    }
}

/// How many packets came to the peer in the local subnet and to the one outside.
pub(crate) fn reached(near: usize, far: usize) -> String {
    format!("near={near} far={far}")
}

/// What the packets of a case did to the metrics: those that were taken, written and dropped.
pub(crate) fn deltas(case: &str, counts: impl Iterator<Item = (String, f64)>) -> String {
    let counted = ["packet/", "batch/", "broadcast/"].iter().any(|group| case.starts_with(group));
    let mut words = Vec::new();
    for (name, count) in counts.filter(|(_, count)| counted && *count > 0.0) {
        // What the kernel answers to packets that were written may find its queue full, or wait too long in it.
        let is_answer =
            ["dropped_packets{reason=expired}", "dropped_packets{reason=queue_full}"].contains(&name.as_str());
        if NOISE.contains(&(case, name.as_str())) || is_answer {
            continue;
        }
        match name.strip_prefix("dropped_packets{reason=") {
            Some(reason) => words.push(format!(" {}={count}", reason.trim_end_matches('}'))),
            None if name == "tun_tx_packets" => words.push(format!(" written={count}")),
            None if name == "remote_rx_packets" => words.push(format!(" received={count}")),
            None => {}
        }
    }
    words.sort();
    words.concat()
}

/// Reads the families this test compares from a scrape.
pub(crate) fn counts(page: &str) -> Counts {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        let (family, labels) = name.split_once('{')?;
        let reason = labels.split("reason=\"").nth(1).and_then(|rest| rest.split('"').next());
        let name = reason.map_or_else(|| family.to_owned(), |reason| format!("{family}{{reason={reason}}}"));
        matches!(family, "dropped_packets" | "remote_rx_packets" | "tun_tx_packets")
            .then_some((name, value.parse().ok()?))
    };
    page.lines().filter(|text| !text.starts_with('#')).filter_map(line).collect()
}

/// Names and types of metrics that the recorded scrape has and ours has not. `dropped_packets` is left out before the
/// first drop, where the original writes its header alone.
pub(crate) fn missing_families(recorded: &str, ours: &[u8]) -> Vec<String> {
    let ours = String::from_utf8_lossy(ours);
    let families =
        |page: &str| -> Vec<_> { page.lines().filter(|line| line.starts_with("# TYPE ")).map(str::to_owned).collect() };
    let (mut missing, ours) = (families(recorded), families(&ours));
    missing.retain(|family| family != "# TYPE dropped_packets gauge" && !ours.contains(family));
    missing
}

/// Whether the token of an answer was made by `issuer` for `audience`, with `session`, for this body, and now.
pub(crate) fn is_signed(answer: &Message, issuer: &str, audience: &str, session: &Session) -> bool {
    let Some(jwt) = answer.header("authorization").and_then(Jwt::of_header) else { return false };
    let iat = jwt.claim("iat").as_i64().unwrap();
    let expected = [
        ("iss", issuer.into()),
        ("aud", audience.into()),
        ("sub", session.id.clone().into()),
        ("sig", format!("0/{}", sha256_hex(&answer.body)).into()),
        ("nbf", (iat as f64 - 5.0).into()),
        ("exp", (iat as f64 + 30.0).into()),
    ];
    jwt.is_signed_with(&session.secret) && expected.iter().all(|(name, value): &(_, Value)| jwt.claim(name) == *value)
}

/// What a case counted although it has nothing to do with it: the kernel of the recording looked for IPv6 routers.
const NOISE: [(&str, &str); 3] = [
    ("batch/ok_2", "dropped_packets{reason=unsupported}"),
    ("broadcast/off_tx_unknown_dest", "dropped_packets{reason=unsupported}"),
    ("broadcast/tx_limited_broadcast", "dropped_packets{reason=unsupported}"),
];
