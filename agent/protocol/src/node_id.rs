use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of one node, unique in a mesh: a UUID from the original and from us, any short printable text from others.
///
/// It is one path segment of every session route, so what cannot stand in a path unescaped is refused. Cloning is a
/// reference count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Builds the version 4 UUID (RFC 9562, section 5.4) of 16 random bytes.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let mut text = String::with_capacity(36);
        for (index, byte) in bytes.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.extend([byte >> 4, byte & 0x0f].map(|nibble| char::from(b"0123456789abcdef"[usize::from(nibble)])));
        }
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, ParseNodeIdError> {
        if text.is_empty() || text.len() > MAX_LEN {
            return Err(ParseNodeIdError::Length { len: text.len() });
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._~:@".contains(*c))) {
            Some(found) => Err(ParseNodeIdError::Character { found }),
            None => Ok(Self(text.into())),
        }
    }
}

impl TryFrom<String> for NodeId {
    type Error = ParseNodeIdError;

    fn try_from(text: String) -> Result<Self, ParseNodeIdError> {
        text.parse()
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.0.as_ref().into()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a node id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseNodeIdError {
    /// A character that cannot stand in a path segment.
    #[error("a node id holds letters, digits and -._~:@ only, found {found:?}")]
    Character {
        /// The first such character.
        found: char,
    },
    /// Empty, or over 128 bytes.
    #[error("a node id has 1 to {MAX_LEN} bytes, found {len}")]
    Length {
        /// Length found, in bytes.
        len: usize,
    },
}

/// Over three times a UUID; bounds what a peer can make us store per member.
const MAX_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_become_a_version_4_uuid() {
        assert_eq!(NodeId::from_random([0xff; 16]).as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(NodeId::from_random([0; 16]).as_str(), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn what_cannot_stand_in_a_path_is_refused() {
        assert_eq!("a/b".parse::<NodeId>(), Err(ParseNodeIdError::Character { found: '/' }));
        assert_eq!("".parse::<NodeId>(), Err(ParseNodeIdError::Length { len: 0 }));
        assert_eq!("x".repeat(129).parse::<NodeId>(), Err(ParseNodeIdError::Length { len: 129 }));
    }
}
