use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Uri;
use serde::{Deserialize, Serialize};

/// Where a node's control API listens: `https://host[:port]`, path ignored, kept as it was written.
///
/// Cloning is a reference count. Two spellings of one place (a trailing slash, the default port) are told apart by `==`
/// and recognised as one by [`ControlUrl::same_place`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ControlUrl {
    text: Arc<str>,
    host: Arc<str>,
    port: u16,
}

impl ControlUrl {
    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host name, or IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port, 443 if the URL names none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port` as it stands in a Host header, IPv6 in brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The same port at another host.
    pub fn at(&self, address: IpAddr) -> Self {
        let place = SocketAddr::new(address, self.port);
        Self { text: format!("https://{place}").into(), host: address.to_string().into(), port: self.port }
    }

    /// Whether both name the same host and port.
    pub fn same_place(&self, other: &Self) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }
}

impl std::str::FromStr for ControlUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, ParseUrlError> {
        // What a URI parser lets through beside these would reach terminals.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ParseUrlError::Syntax { found: text.escape_debug().collect() });
        }
        let uri: Uri = text.parse().map_err(|_| ParseUrlError::Syntax { found: text.into() })?;
        if uri.scheme_str() != Some("https") {
            return Err(ParseUrlError::Scheme { found: text.into() });
        }
        let authority = uri.authority().ok_or_else(|| ParseUrlError::Syntax { found: text.into() })?;
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => 443,
            Some(port) => port[1..].parse().map_err(|_| ParseUrlError::Syntax { found: text.into() })?,
            None => return Err(ParseUrlError::Syntax { found: text.into() }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port == 0 || text.len() > MAX_LEN {
            return Err(ParseUrlError::Syntax { found: text.chars().take(80).collect() });
        }
        Ok(Self { text: text.into(), host: host.into(), port })
    }
}

impl TryFrom<String> for ControlUrl {
    type Error = ParseUrlError;

    fn try_from(text: String) -> Result<Self, ParseUrlError> {
        text.parse()
    }
}

impl From<ControlUrl> for String {
    fn from(url: ControlUrl) -> Self {
        url.text.as_ref().into()
    }
}

impl fmt::Display for ControlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is not a control URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseUrlError {
    /// Not https.
    #[error("{found:?} is not an https URL")]
    Scheme {
        /// The whole text.
        found: String,
    },
    /// Not a URL with a host and a port from 1 to 65535.
    #[error("{found:?} is not a URL of the form https://host:port")]
    Syntax {
        /// The whole text, or its beginning.
        found: String,
    },
}

/// Longest URL taken, in bytes; bounds what a peer can make us store per member.
const MAX_LEN: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_slash_and_the_default_port_are_the_same_place() {
        let plain: ControlUrl = "https://Example.net".parse().unwrap();
        let other: ControlUrl = "https://example.net:443/".parse().unwrap();
        assert_ne!(plain, other);
        assert!(plain.same_place(&other));
    }

    #[test]
    fn an_ipv6_host_loses_its_brackets_and_regains_them_in_the_authority() {
        let url: ControlUrl = "https://[fd77::1]:4567".parse().unwrap();
        assert_eq!((url.host(), url.port()), ("fd77::1", 4567));
        assert_eq!(url.authority(), "[fd77::1]:4567");
    }

    #[test]
    fn another_host_keeps_the_port_and_has_brackets_where_it_needs_them() {
        let url: ControlUrl = "https://placeholder:4567".parse().unwrap();
        for (address, text) in [("192.0.2.7", "https://192.0.2.7:4567"), ("fd00::7", "https://[fd00::7]:4567")] {
            assert_eq!(url.at(address.parse().unwrap()), text.parse().unwrap());
        }
    }

    #[test]
    fn other_schemes_and_half_urls_are_refused() {
        for text in [
            "http://a:1",
            "a:1",
            "foo",
            "not a url",
            "https://",
            "https://a:0",
            "https://a:70000",
            "https://u@a:1",
            "https://a/\u{9b}2J",
            "https://a/\x7f",
        ] {
            assert!(text.parse::<ControlUrl>().is_err(), "{text}");
        }
    }
}
