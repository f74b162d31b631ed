//! From a recorded message to one for a node of this run: other ids, sessions and times, what was right is right again
//! and what was wrong is wrong in the same way.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use base64_simd::forgiving_decode_to_vec;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::jwt::{Jwt, md5_hex, sha256_hex};
use super::recording::{Case, Request, Secrets, base64, text};
use super::session::Session;

/// What changed between the recording and this run.
pub(crate) struct Translation<'a> {
    /// Id of the node of the original, and of ours in its place.
    pub(crate) ids: (&'a str, &'a str),
    /// Seconds since the recording.
    pub(crate) shift: i64,
    pub(crate) secrets: &'a Secrets,
    /// Sessions of this run by the id of the recorded session they stand for.
    pub(crate) sessions: &'a BTreeMap<String, Session>,
}

impl Translation<'_> {
    /// Head and body to send.
    pub(crate) fn request(&self, recorded: &Request) -> Vec<u8> {
        let body = self.body(&recorded.path, &recorded.body);
        let line = |line: &str| match line.split_once(": ") {
            Some(("Authorization", value)) => {
                format!("Authorization: {}", self.authorization(value, &recorded.body, &recorded.body_sha256, &body))
            }
            Some(("Content-Length", _)) => format!("Content-Length: {}", body.len()),
            Some(_) | None => self.ids_in(line),
        };
        if recorded.head.contains("Transfer-Encoding: chunked") {
            // Chunks were recorded as part of the head, without the last line break.
            return format!("{}\r\n", recorded.head).into_bytes();
        }
        let head = recorded.head.split("\r\n").map(line).collect::<Vec<_>>().join("\r\n");
        [head.into_bytes(), body].concat()
    }

    /// Status line, headers and body of a recorded answer.
    pub(crate) fn answer(&self, recorded: &Value) -> Vec<u8> {
        let raw = base64(recorded["body_b64"].as_str().unwrap_or_default());
        let head = text(&recorded["raw_head"]);
        let is_gzip = head.contains("content-encoding: gzip");
        let plain = if is_gzip { gunzip(&raw) } else { raw };
        let new = self.body("", &plain);
        let sent = if is_gzip { gzip(&new) } else { new.clone() };
        let line = |line: &str| match line.split_once(": ") {
            Some(("authorization", value)) => {
                format!("authorization: {}", self.authorization(value, &plain, &sha256_hex(&plain), &new))
            }
            Some(("Content-Length", _)) => format!("Content-Length: {}", sent.len()),
            Some(_) | None => self.ids_in(line),
        };
        let head = head.split("\r\n").map(line).collect::<Vec<_>>().join("\r\n");
        [head.into_bytes(), sent].concat()
    }

    fn ids_in(&self, text: &str) -> String {
        if self.ids.0.is_empty() { text.to_owned() } else { text.replace(self.ids.0, self.ids.1) }
    }

    /// The body with our id and of this time. What is not text stays as it is.
    pub(crate) fn body(&self, path: &str, recorded: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(recorded) else { return recorded.to_vec() };
        let text = self.ids_in(text);
        if !path.contains("/packet/rx/") {
            return shift_after(&text, "\"stamp\"", self.shift).into_bytes();
        }
        match serde_json::from_str::<Vec<String>>(&text) {
            Ok(packets) if path.ends_with("/batch") => {
                let packets: Vec<_> = packets.iter().map(|packet| self.packet(packet)).collect();
                serde_json::to_vec(&packets).unwrap()
            }
            Ok(_) | Err(_) => self.packet(&text).into_bytes(),
        }
    }

    /// A packet that was sent now, its checksum made anew if it was right before, upper case or not.
    fn packet(&self, text: &str) -> String {
        let Ok(packet) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
        let Some(stamp) = packet["internal_stamp"].as_u64().filter(|stamp| is_recent(stamp >> 30)) else {
            return text.to_owned();
        };
        let shifted = stamp.wrapping_add_signed(self.shift << 30);
        let text = text.replace(&stamp.to_string(), &shifted.to_string());
        let md5 = packet["md5"].as_str().unwrap_or_default();
        let (Some(before), Some(now)) = (packet_md5(&packet, stamp), packet_md5(&packet, shifted)) else { return text };
        if md5 == before {
            return text.replace(md5, &now);
        }
        if md5 == before.to_uppercase() { text.replace(md5, &now.to_uppercase()) } else { text }
    }

    /// The value of an Authorization header; words that are no tokens stay.
    fn authorization(&self, value: &str, recorded: &[u8], recorded_sha256: &str, body: &[u8]) -> String {
        let digests = (digests(recorded, recorded_sha256), digests(body, &sha256_hex(body)));
        let word = |word| Jwt::parse(word).map_or_else(|| self.ids_in(word), |jwt| self.token(&jwt, &digests));
        value.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }

    fn token(&self, recorded: &Jwt<'_>, digests: &([String; 4], [String; 4])) -> String {
        let mut claims: Value = serde_json::from_str(&self.ids_in(&recorded.claims)).unwrap();
        let session = text(&claims["sub"]);
        for (name, value) in claims.as_object_mut().unwrap() {
            match name.as_str() {
                "exp" | "iat" | "nbf" => *value = shifted(value, self.shift),
                "sig" => {
                    if let Some(form) = digests.0.iter().position(|digest| value == digest) {
                        *value = digests.1[form].clone().into();
                    }
                }
                "sub" => {
                    if let Some(live) = self.sessions.get(&session) {
                        *value = live.id.clone().into();
                    }
                }
                _ => {}
            }
        }
        recorded.with_claims(&claims.to_string(), self.secret(recorded, &session))
    }

    /// The secret of today that stands for the one which signed the recorded token.
    fn secret(&self, recorded: &Jwt<'_>, session: &str) -> &[u8] {
        let live = self.sessions.get(session);
        let was_session = self.secrets.sessions.get(session).is_some_and(|secret| recorded.is_signed_with(secret));
        match live {
            Some(live) if was_session => &live.secret,
            Some(_) | None if recorded.is_signed_with(&self.secrets.cluster) => &self.secrets.cluster,
            Some(_) | None => b"a secret that nobody else knows",
        }
    }
}

/// The bodies of which only hash and beginning were kept, made again by the rule they were made by.
pub(crate) fn rebuild(case: &Case, exchange: &Value, request: &mut Request) {
    let beginning = text(&exchange["request"]["body_truncated"]["first_2000"]);
    request.body = match case.name.as_str() {
        "batch/n1025" => batch_of(&beginning, 1025),
        "batch/n65" => batch_of(&beginning, 65),
        "packet/data_over_u16" => padded(&beginning, 76, 70_000, 0, case.at),
        "packet/ok_65535" => padded(&beginning, 28, 65_535, b'z', case.at),
        "register/big_body" => {
            let (local, remote) = beginning.split_once("\"remote\":[").unwrap();
            let entry = remote.split_inclusive("}}}").next().unwrap();
            let entries = vec![entry; 4000].join(",");
            let body = format!("{local}\"remote\":[{entries}],\"stamp\":{}}}", case.at.floor());
            assert_eq!(sha256_hex(body.as_bytes()), request.body_sha256, "the rule of big_body");
            body.into_bytes()
        }
        "http/long_uri" => {
            request.head = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20_000));
            Vec::new()
        }
        _ => return,
    };
}

fn batch_of(beginning: &str, count: usize) -> Vec<u8> {
    let first = beginning.strip_prefix('[').unwrap();
    let first: String = serde_json::Deserializer::from_str(first).into_iter().next().unwrap().unwrap();
    serde_json::to_vec(&vec![first; count]).unwrap()
}

/// A packet of `len` bytes, the first `kept` of which are recorded.
fn padded(beginning: &str, kept: usize, len: usize, filler: u8, at: f64) -> Vec<u8> {
    let base64_text = beginning.split("\"b64_data\":\"").nth(1).unwrap().replace("\\n", "");
    let mut data = forgiving_decode_to_vec(&base64_text.as_bytes()[..400]).unwrap();
    data.truncate(kept);
    data.resize(len, filler);
    let mut packet = serde_json::json!({
        "version": 3,
        "ethertype": 2048,
        "b64_data": base64_simd::STANDARD.encode_to_string(&data),
        "internal_stamp": (at as u64) << 30,
        "source_node_id": "a peer",
    });
    packet["md5"] = packet_md5(&packet, (at as u64) << 30).unwrap().into();
    packet.to_string().into_bytes()
}

/// Every form in which the recorded tokens name a body, right or wrong.
fn digests(body: &[u8], sha256: &str) -> [String; 4] {
    let packet = serde_json::from_slice::<Value>(body).unwrap_or_default();
    [
        format!("0/{sha256}"),
        format!("0/{}", sha256.to_uppercase()),
        format!("1/{}", md5_hex(&[body])),
        format!("1/{}", packet["md5"].as_str().unwrap_or("none")),
    ]
}

fn packet_md5(packet: &Value, stamp: u64) -> Option<String> {
    let data = forgiving_decode_to_vec(packet["b64_data"].as_str()?.as_bytes()).ok()?;
    let ethertype = packet["ethertype"].as_u64()?.to_string();
    let source = packet["source_node_id"].as_str()?;
    Some(md5_hex(&[&data, ethertype.as_bytes(), stamp.to_string().as_bytes(), source.as_bytes()]))
}

fn shifted(time: &Value, by: i64) -> Value {
    time.as_i64().map_or_else(|| (time.as_f64().unwrap() + by as f64).into(), |seconds| (seconds + by).into())
}

/// Adds `by` to each whole number after `key` that is a time of the recording.
fn shift_after(text: &str, key: &str, by: i64) -> String {
    let mut parts = text.split(key);
    let mut shifted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let start = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
        let len = part[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len() - start);
        let number = part[start..start + len].parse().ok().filter(|number| is_recent(*number));
        shifted.push_str(key);
        match number {
            Some(number) => {
                let now = number.wrapping_add_signed(by).to_string();
                shifted.extend([&part[..start], &now, &part[start + len..]]);
            }
            None => shifted.push_str(part),
        }
    }
    shifted
}

/// Whether these Unix seconds are of the two days around the recording.
fn is_recent(seconds: u64) -> bool {
    (1_795_000_000..1_796_000_000).contains(&seconds)
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}
