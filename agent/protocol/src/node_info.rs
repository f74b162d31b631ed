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
    /// Version of the software, for people.
    pub version: String,
    /// Names of what it can do; unknown ones are kept and mean nothing.
    #[serde(default)]
    pub features: Vec<String>,
    /// Where it takes datagrams over UDP; none if it does not.
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
    pub fn parse(body: &[u8]) -> Result<Self, NodeInfoError> {
        let wire: Wire = serde_json::from_slice(body).map_err(|source| NodeInfoError { source })?;
        let implementation = wire.tunmesh.and_then(|value| serde_json::from_value(value).ok());
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
    fn without_id_or_url_it_is_nobody() {
        for body in ["", "null", "{}", r#"{"id":"a"}"#, r#"{"id":"a","listen_url":"http://a:1"}"#, r#"{"id":7}"#] {
            assert!(NodeInfo::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
