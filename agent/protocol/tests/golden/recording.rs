//! Reads the recorded exchanges.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64_simd::STANDARD;
use serde_json::Value;
use tunmesh_protocol::{NodeId, Secret, Token, UnixTime};

/// One request or response with a known body.
pub(crate) struct Message {
    /// The path of the request, also for a response.
    pub(crate) path: String,
    /// Status of the response, also for a request.
    pub(crate) status: u64,
    pub(crate) is_request: bool,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Vec<u8>,
    /// As the recorder decoded them, unverified.
    pub(crate) claims: Option<Value>,
}

/// All of a recorded file.
pub(crate) fn read(path: &str) -> Value {
    serde_json::from_str(&text(path)).unwrap()
}

pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The recorded probes of a group by name, in alphabetical order.
pub(crate) fn probes(group: &str) -> Vec<(String, Value)> {
    let folder = root().join("probe").join(group);
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !name.contains("secrets"))
        .collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), read(&format!("probe/{group}/{name}.json")))).collect()
}

/// The exchanges of the recorded mesh: who called whom when, and the two messages.
pub(crate) fn mesh() -> Vec<(Value, Vec<Message>)> {
    let read = |line| serde_json::from_str::<Value>(line).unwrap();
    let lines = text("mesh/exchanges.jsonl");
    lines.lines().map(read).map(|exchange| (exchange.clone(), messages(&exchange))).collect()
}

/// All messages somewhere in a record whose body was kept.
pub(crate) fn messages(record: &Value) -> Vec<Message> {
    match record {
        Value::Array(records) => records.iter().flat_map(messages).collect(),
        Value::Object(fields) if fields.contains_key("request") && fields.contains_key("response") => {
            [message(record, "request"), message(record, "response")].into_iter().flatten().collect()
        }
        Value::Object(fields) => fields.values().flat_map(messages).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

pub(crate) fn base64(value: &Value) -> Vec<u8> {
    STANDARD.decode_to_vec(value.as_str().unwrap()).unwrap()
}

pub(crate) fn id(value: &Value) -> NodeId {
    value.as_str().unwrap().parse().unwrap()
}

/// The time of a JSON number of seconds.
pub(crate) fn time(value: &Value) -> UnixTime {
    UnixTime::new(Duration::from_secs_f64(value.as_f64().unwrap()))
}

pub(crate) fn cluster_token() -> Token {
    Token::cluster(&Secret::from_bytes(read("mesh/secrets.json")["cluster_secret"].as_str().unwrap().into()))
}

/// The tokens of all sessions that nodes of the original had in the recorded mesh or in the probes.
pub(crate) fn session_tokens(run: &str) -> Vec<Token> {
    let secrets = read(&format!("{run}/secrets.json"));
    let secret = |value: &Value| Secret::from_bytes(base64(value.get("secret_b64").unwrap_or(value)));
    secrets["session_tokens"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, value)| Token::session(id, &secret(value)))
        .collect()
}

fn message(exchange: &Value, part: &str) -> Option<Message> {
    let value = &exchange[part];
    let body = base64(value.get("body_b64")?);
    let header = |headers: &Value| {
        let mut headers = headers.as_array()?.iter();
        let value = &headers.find(|header| header[0].as_str().unwrap().eq_ignore_ascii_case("authorization"))?[1];
        Some(value.as_str().unwrap().to_owned())
    };
    Some(Message {
        path: exchange["request"]["path"].as_str().unwrap_or_default().into(),
        status: exchange["response"]["status"].as_u64().unwrap_or_default(),
        is_request: part == "request",
        authorization: header(&value["headers"]),
        body,
        claims: value["jwt"]["claims_json"].as_str().map(|claims| serde_json::from_str(claims).unwrap()),
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tunmesh-v0")
}
