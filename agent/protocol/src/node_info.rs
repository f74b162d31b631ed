use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ControlUrl, NodeId, json};

/// The answer to `GET node_info`: who listens there.
///
/// ```text
/// {"id":"<id>","listen_url":"https://<host>:<port>","tunmesh":{"version":"0.1.0","features":["pipelining"]}}
/// ```
///
/// The original sends the first two fields and ignores all others, here and nowhere else on the control path, so this is
/// where a node says what more it can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeInfo {
    /// The node's id.
    pub id: NodeId,
    /// The URL it advertises, not necessarily the one it was asked at.
    pub listen_url: ControlUrl,
    /// What runs there; `None` for the original.
    #[serde(rename = "tunmesh", skip_serializing_if = "Option::is_none")]
    pub implementation: Option<Implementation>,
}

/// What software a node runs and what it can do beyond the original.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Implementation {
    /// Version of the software, for people; read from another node, at most 32 printable ASCII characters.
    pub version: String,
    /// Names of what it can do; unknown ones are kept and mean nothing.
    #[serde(default)]
    pub features: Vec<String>,
    /// Where it takes datagrams over UDP; none if it does not. Read from another node, the first 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SocketAddr>,
}

impl Implementation {
    /// Whether the node offers `feature`.
    pub fn offers(&self, feature: &str) -> bool {
        self.features.iter().any(|offered| offered == feature)
    }
}

impl NodeInfo {
    /// Reads a response body; unknown fields and an unknown shape of our own field are ignored.
    ///
    /// Of its values only as much is taken as the fields of [`Implementation`] say: anybody may have written them, and they
    /// are kept, shown on terminals and called.
    pub fn parse(body: &[u8]) -> Result<Self, NodeInfoError> {
        let wire: Wire = serde_json::from_slice(body).map_err(|source| NodeInfoError { source })?;
        let mut implementation: Option<Implementation> =
            wire.tunmesh.and_then(|value| serde_json::from_value(value).ok());
        if let Some(told) = &mut implementation {
            told.version.retain(|c| matches!(c, ' '..='~'));
            told.version.truncate(MAX_VERSION_LEN);
            told.endpoints.truncate(MAX_ENDPOINTS);
        }
        Ok(Self { id: wire.id, listen_url: wire.listen_url, implementation })
    }

    /// The response body.
    pub fn to_json(&self) -> Vec<u8> {
        json::write(self)
    }
}

/// A body that does not say who listens there.
#[derive(Debug, thiserror::Error)]
#[error("failed to read node_info")]
pub struct NodeInfoError {
    source: serde_json::Error,
}

#[derive(Deserialize)]
struct Wire {
    id: NodeId,
    listen_url: ControlUrl,
    #[serde(default)]
    tunmesh: Option<Value>,
}

/// Bytes of a version, as many as a record of the gossip holds.
const MAX_VERSION_LEN: usize = 32;

/// Endpoints, as many as a record of the gossip holds.
const MAX_ENDPOINTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINAL: &[u8] = br#"{"id":"a","listen_url":"https://10.77.0.1:4567"}"#;

    #[test]
    fn the_body_of_the_original_is_written_as_it_was_read() {
        assert_eq!(NodeInfo::parse(ORIGINAL).unwrap().to_json(), ORIGINAL);
    }

    #[test]
    fn our_own_field_is_written_last_and_read_back() {
        let implementation =
            Implementation { version: "0.1.0".into(), features: vec!["pipelining".into()], endpoints: Vec::new() };
        let info = NodeInfo { implementation: Some(implementation), ..NodeInfo::parse(ORIGINAL).unwrap() };

        let body = info.to_json();

        assert!(body.ends_with(br#","tunmesh":{"version":"0.1.0","features":["pipelining"]}}"#));
        assert_eq!(NodeInfo::parse(&body).unwrap(), info);
        assert!(info.implementation.unwrap().offers("pipelining"));
    }

    #[test]
    fn strange_shapes_of_our_own_field_are_those_of_somebody_else() {
        for shape in ["1", "null", "[]", r#"{"version":2}"#, r#"{"version":"1","features":"all"}"#] {
            let body = format!(r#"{{"id":"a","listen_url":"https://a:1","tunmesh":{shape}}}"#);
            assert_eq!(NodeInfo::parse(body.as_bytes()).unwrap().implementation, None, "{shape}");
        }
    }

    #[test]
    fn of_what_a_node_says_of_itself_only_so_much_is_taken() {
        let endpoints: Vec<_> = (1..=9).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
        let told =
            |version: &str| Implementation { version: version.into(), features: vec![], endpoints: endpoints.clone() };
        let parse = |version: &str| {
            let info = NodeInfo { implementation: Some(told(version)), ..NodeInfo::parse(ORIGINAL).unwrap() };
            NodeInfo::parse(&info.to_json()).unwrap().implementation.unwrap()
        };

        assert_eq!(parse("0.1.0").endpoints, endpoints[..8]);
        assert_eq!(parse("0.1.0-rc.1 of May").version, "0.1.0-rc.1 of May");
        assert_eq!(parse("0.1\u{1b}[31m.\u{9b}0\r\né").version, "0.1[31m.0");
        assert_eq!(parse(&"1".repeat(40)).version, "1".repeat(32));
    }

    #[test]
    fn without_id_or_url_it_is_nobody() {
        for body in ["", "null", "{}", r#"{"id":"a"}"#, r#"{"id":"a","listen_url":"http://a:1"}"#, r#"{"id":7}"#] {
            assert!(NodeInfo::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
