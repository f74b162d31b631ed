use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use ipnet::Ipv6Net;

use super::number::whole;
use super::schema::Scalar;
use super::timing;
use super::values::Value;
use crate::Secret;

/// What is wrong with a value, and how to mend it.
pub(super) struct Wrong {
    pub(super) fix: String,
    pub(super) reason: String,
}

impl Wrong {
    pub(super) fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), reason: reason.into() }
    }
}

/// Reads one value. `plain` tells an unquoted one.
pub(super) fn read(
    kind: &Scalar,
    text: &str,
    plain: bool,
    base_dir: &Path,
    random: &mut dyn FnMut() -> f64,
) -> Result<Value, Wrong> {
    let wrong = |reason: String| Wrong::new(reason, format!("give {}", kind.describe()));
    match kind {
        Scalar::Address => text.parse().map(Value::Address).map_err(|_| wrong("it is not an IP address".into())),
        Scalar::Bool => {
            boolean(text, plain).map(Value::Bool).ok_or_else(|| wrong("it is neither true nor false".into()))
        }
        Scalar::Choice(choices) => match choices.iter().find(|(word, _)| *word == text) {
            Some((word, _)) => Ok(Value::Choice(word)),
            None => Err(Wrong::new("it is none of the words allowed", format!("give one of {}", kind.describe()))),
        },
        Scalar::Cidr => text.parse().map(Value::Cidr).map_err(|error: crate::ParseCidrError| wrong(error.to_string())),
        Scalar::Endpoint => endpoint(text)
            .map(Value::Endpoint)
            .ok_or_else(|| wrong("it is not an address and port that other nodes can send to".into())),
        Scalar::File => existing(&base_dir.join(text)).map(|()| Value::File(base_dir.join(text))),
        Scalar::Integer { min, max } => {
            let number = integer(text, plain).ok_or_else(|| wrong("it is not an integer".into()))?;
            if (*min..=*max).contains(&number) {
                Ok(Value::Integer(number))
            } else {
                Err(wrong("it is out of range".into()))
            }
        }
        Scalar::Ipv4 => text
            .parse()
            .map(|address: Ipv4Addr| Value::Address(IpAddr::V4(address)))
            .map_err(|_| wrong("it is not an IPv4 address".into())),
        Scalar::Ipv6 => text
            .parse()
            .map(|address: Ipv6Addr| Value::Address(IpAddr::V6(address)))
            .map_err(|_| wrong("it is not an IPv6 address".into())),
        Scalar::Ipv6Prefix => match text.parse::<Ipv6Net>() {
            Ok(network) if network.prefix_len() <= 64 => Ok(Value::Ipv6Prefix(network.trunc())),
            Ok(_) => Err(wrong("it leaves fewer than 64 bits for nodes".into())),
            Err(_) => Err(wrong("it is not an IPv6 address with a prefix length".into())),
        },
        Scalar::Secret => secret(text).map(Value::Secret),
        Scalar::Text if text.is_empty() => Err(wrong("it is empty".into())),
        Scalar::Text => Ok(Value::Text(text.to_owned())),
        Scalar::Timing { min, max, or_zero } => {
            let window = timing::read(text, plain, random).map_err(|reason| {
                Wrong::new(
                    reason,
                    format!(
                        "give seconds (1.5), a number with s, m, h or d (15m), or a range (5..10s), {}",
                        kind.describe()
                    ),
                )
            })?;
            if (*min..=*max).contains(&window.seconds) || (*or_zero && window.seconds == 0.0) {
                Ok(Value::Timing(window))
            } else {
                Err(wrong("it is out of range".into()))
            }
        }
        Scalar::Url => text.parse().map(Value::Url).map_err(|_| {
            Wrong::new(
                "it is not an https URL of a host",
                "give https://host:port, where other nodes reach the control API",
            )
        }),
        Scalar::Version => match text {
            "1.1" | "1.10" => Ok(Value::Version),
            _ => Err(Wrong::new("it is an unknown version", "give 1.1")),
        },
        Scalar::WireGuardKey => base64_simd::STANDARD
            .decode_to_vec(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Value::WireGuardKey)
            .ok_or_else(|| Wrong::new("it is not a public key of WireGuard", "give what `wg pubkey` prints")),
    }
}

/// A secret of the mesh, long enough.
fn secret(text: &str) -> Result<Secret, Wrong> {
    let len = text.chars().count();
    if len < MIN_SECRET {
        return Err(Wrong::new(
            format!("it has {len} characters, fewer than {MIN_SECRET}"),
            "give the output of `openssl rand -base64 32`, the same on every node",
        ));
    }
    Ok(Secret::from_bytes(text.as_bytes().to_vec()))
}

/// Unquoted words as YAML 1.1 has them; quoted ones only `true` and `false`, in any case.
fn boolean(text: &str, plain: bool) -> Option<bool> {
    match (text.to_lowercase().as_str(), plain) {
        ("true", _) | ("yes" | "on", true) => Some(true),
        ("false", _) | ("no" | "off", true) => Some(false),
        _ => None,
    }
}

/// A whole number, or an unquoted decimal fraction, which is cut off.
fn integer(text: &str, plain: bool) -> Option<i64> {
    let fraction = || {
        let number: f64 = text.trim().parse().ok()?;
        (plain && number.is_finite() && number.abs() < 1e15 && text.contains('.')).then_some(number.trunc() as i64)
    };
    whole(text).or_else(fraction)
}

/// An address that means the same to every node: no zone (`%eth0`), no wildcard, no group.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let endpoint: SocketAddr = text.parse().ok()?;
    let is_one_host = !endpoint.ip().is_unspecified() && !endpoint.ip().is_multicast();
    let has_zone = matches!(endpoint, SocketAddr::V6(v6) if v6.scope_id() != 0);
    (is_one_host && !has_zone && endpoint.port() != 0).then_some(endpoint)
}

fn existing(path: &Path) -> Result<(), Wrong> {
    if path.is_dir() {
        return Err(Wrong::new("it is a folder", "give the path of a PEM file"));
    }
    if !path.is_file() {
        return Err(Wrong::new(
            "there is no such file",
            "give the path of a PEM file; relative ones start at the folder of the configuration",
        ));
    }
    Ok(())
}

/// Characters of a secret at least, as the original.
const MIN_SECRET: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unquoted_fraction_is_cut_off() {
        assert_eq!(integer("4567.9", true), Some(4567));
        assert_eq!(integer("4567.9", false), None);
    }
}
