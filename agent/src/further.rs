//! Further addresses of a member, told beside its answers to registrations: its IPv6 address, and those of its WireGuard
//! devices. The document itself has no place for them, and the gossip does not reach everybody.
//!
//! ```text
//! tunmesh-addresses: <address>,<address>,... Bearer: <JWT>
//! ```
//!
//! The token is one as in `Authorization`, by the same sender for the same reader; its `sig` covers [`CONTEXT`], a zero byte
//! and the text before the space.

use std::net::IpAddr;
use std::str::FromStr;

use tunmesh_protocol::config::Networking;
use tunmesh_protocol::{BodyDigest, NodeId, Token, authorize, verify};

use crate::settings;
use crate::shared::Shared;

/// The header; the original ignores it.
pub(crate) const HEADER: &str = "tunmesh-addresses";

/// Name of this in `node_info`.
pub(crate) const FURTHER: &str = "addresses";

/// The further addresses of this node that packets can take a way to.
pub(crate) fn own(shared: &Shared) -> Vec<IpAddr> {
    let live = shared.live.load();
    let networking = &live.config.networking;
    settings::addresses(networking).into_iter().skip(1).filter(|address| is_carried(networking, *address)).collect()
}

/// Requests of the v0 protocol carry IPv4 alone.
fn is_carried(networking: &Networking, address: IpAddr) -> bool {
    let paths = &networking.data_plane.paths;
    address.is_ipv4() || paths.udp || paths.stream
}

/// The header of an answer to `reader` that is signed with `token`; nothing if there is nothing to tell.
pub(crate) fn tell(shared: &Shared, token: &Token, reader: &NodeId) -> Option<String> {
    let own = own(shared);
    if own.is_empty() {
        return None;
    }
    let listed = own.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
    let live = shared.live.load();
    let token = authorize(token, &shared.id, reader, digest(&listed), &live.windows, shared.clock.wall());
    Some(format!("{listed} {token}"))
}

/// What the header of an answer of `sender` tells, if it is signed with one of `tokens`.
pub(crate) fn read(shared: &Shared, header: &[u8], tokens: &[&Token], sender: &NodeId) -> Option<Vec<IpAddr>> {
    let (listed, token) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    let verified = verify(token.as_bytes(), tokens, &shared.id, shared.clock.wall()).ok()?;
    verified.matches(digest(listed)).ok()?;
    if verified.issuer.as_ref() != Some(sender) {
        return None;
    }
    let live = shared.live.load();
    let mut addresses = parse(listed)?;
    addresses.retain(|address| is_carried(&live.config.networking, *address));
    Some(addresses)
}

fn parse(listed: &str) -> Option<Vec<IpAddr>> {
    let addresses: Vec<_> =
        listed.split(',').take(MAX_ADDRESSES + 1).map(IpAddr::from_str).collect::<Result<_, _>>().ok()?;
    (addresses.len() <= MAX_ADDRESSES).then_some(addresses)
}

fn digest(listed: &str) -> BodyDigest {
    BodyDigest::of(&[CONTEXT, b"\0", listed.as_bytes()].concat())
}

/// What is signed is this, and never a body: no body begins so.
const CONTEXT: &[u8] = b"tunmesh v1 addresses";

/// Addresses taken from one member: 16 devices with two each, one of its own, and room.
const MAX_ADDRESSES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_were_written_up_to_a_bound() {
        let some = ["192.168.129.70", "fd00::46"].map(|address| address.parse::<IpAddr>().unwrap());
        assert_eq!(parse("192.168.129.70,fd00::46"), Some(some.to_vec()));

        assert_eq!(parse(&["10.0.0.1"; MAX_ADDRESSES].join(",")).map(|list| list.len()), Some(MAX_ADDRESSES));
        for bad in ["", "10.0.0.1,", "10.0.0.1;10.0.0.2", &["10.0.0.1"; MAX_ADDRESSES + 1].join(",")] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
