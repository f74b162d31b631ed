//! Reads the recorded probes of the original.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64_simd::STANDARD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;

use super::jwt::{Jwt, sha256_hex};

/// One row of `index.json`: what the original answered to one request.
pub(crate) struct Row {
    /// Name of the case, with `#` and the number of the request where a case has several.
    pub(crate) name: String,
    /// The file of the case, without `.json`.
    pub(crate) case: String,
    /// Number of the request in the case, from 0.
    pub(crate) number: usize,
    pub(crate) record: Value,
}

/// One file of requests that were made one after the other.
pub(crate) struct Case {
    pub(crate) name: String,
    /// When the first request was made, in Unix seconds.
    pub(crate) at: f64,
    pub(crate) record: Value,
}

/// A recorded request, or the rule by which it was made.
pub(crate) struct Request {
    /// From the request line to the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Of the recorded body, also where only this was kept.
    pub(crate) body_sha256: String,
    pub(crate) method: String,
    pub(crate) path: String,
}

/// Every secret that was in use while recording.
pub(crate) struct Secrets {
    pub(crate) cluster: Vec<u8>,
    /// By the id of the session.
    pub(crate) sessions: BTreeMap<String, Vec<u8>>,
    /// The RSA key of the recorded peers, PKCS#8 DER.
    pub(crate) peer_key: Vec<u8>,
}

impl Case {
    pub(crate) fn read(name: &str) -> Self {
        let record = read(&format!("{name}.json"));
        Self { name: name.into(), at: record["at"].as_f64().unwrap_or_default(), record }
    }

    /// The group, which is the folder of the case.
    pub(crate) fn group(&self) -> &str {
        self.name.split('/').next().unwrap()
    }

    pub(crate) fn exchanges(&self) -> &[Value] {
        self.record["exchanges"].as_array().unwrap()
    }
}

impl Request {
    pub(crate) fn of(exchange: &Value) -> Option<Self> {
        let request = exchange.get("request").filter(|request| request.is_object())?;
        let body = request.get("body_b64").map(|text| base64(text.as_str().unwrap()));
        let recorded = &request["body_truncated"]["sha256"];
        let body_sha256 = body.as_ref().map_or_else(|| text(recorded), |body| sha256_hex(body));
        Some(Self {
            head: text(&request["raw_head"]),
            body: body.unwrap_or_default(),
            body_sha256,
            method: text(&request["method"]),
            path: text(&request["path"]),
        })
    }

    /// Values of a header as it stands in the head.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// What the token of the request claims, if there is a token.
    pub(crate) fn claim(&self, name: &str) -> Value {
        self.header("authorization").and_then(Jwt::of_header).map_or(Value::Null, |jwt| jwt.claim(name))
    }
}

impl Secrets {
    pub(crate) fn read() -> Self {
        let secrets = read("secrets.json");
        let sessions = secrets["session_tokens"].as_object().unwrap();
        let pem = text(&read("session/probe_secrets.json")["probe_rsa_private_pem"]);
        Self {
            cluster: text(&secrets["cluster_secret"]).into_bytes(),
            sessions: sessions.iter().map(|(id, secret)| (id.clone(), base64(secret.as_str().unwrap()))).collect(),
            peer_key: PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap().secret_der().to_vec(),
        }
    }
}

/// All rows of the table of requests to a server.
pub(crate) fn index() -> Vec<Row> {
    let rows = read("index.json");
    let row = |record: &Value| {
        let name = text(&record["case"]);
        let (case, number) = name.split_once('#').map_or((name.as_str(), 1), |(case, n)| (case, n.parse().unwrap()));
        Row { case: case.into(), number: number - 1, record: record.clone(), name: name.clone() }
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

/// All rows of the table of odd peers of a client.
pub(crate) fn client_index() -> Vec<Value> {
    read("client_index.json").as_array().unwrap().clone()
}

/// The record of one odd peer.
pub(crate) fn client_case(name: &str) -> Value {
    read(&format!("client/{name}.json"))
}

pub(crate) fn base64(text: &str) -> Vec<u8> {
    STANDARD.decode_to_vec(text).unwrap()
}

/// The text, empty if it is none.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Folder of the recorded certificates.
pub(crate) fn tls_file(name: &str) -> PathBuf {
    root().join("tls").join(name)
}

fn read(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(root().join("probe").join(path)).unwrap()).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/tests/vectors/tunmesh-v0")
}
