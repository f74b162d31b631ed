//! One nftables table of our own, which the kernel removes with the socket that made it.
//!
//! The messages are written here rather than by the `nft` program: that may be absent, as in a container without a
//! shell, and a table it makes belongs to it. Ownership (`NFT_TABLE_F_OWNER`, Linux 5.12) ends with the netlink socket
//! of the owner, whatever ends the process, and keeps others from changing the table meanwhile.

mod message;

use std::io;

use netlink_packet_core::{ErrorMessage, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use self::message::{Batch, Interface};
use crate::capabilities::{self, Capability};

/// The table `inet tunmesh` in the network namespace it was made in; gone when dropped, or when the process ends.
pub struct OwnedTable {
    _socket: Socket,
}

/// Why the table was not made; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The process lacks the capability.
    #[error("not permitted to make nftables table inet {TABLE}: needs CAP_NET_ADMIN in this network namespace")]
    NotPermitted,
    /// The kernel refused it, for example one older than 5.12 or without nftables.
    #[error("failed to make nftables table inet {TABLE}")]
    Refused(#[source] io::Error),
    /// Netlink itself failed.
    #[error("failed to talk to nftables")]
    Socket(#[source] io::Error),
    /// A table of that name exists.
    #[error("nftables table inet {TABLE} exists already; another agent runs in this network namespace")]
    Taken,
}

impl OwnedTable {
    /// Lowers the segment size that TCP connections through `device` agree on to what the route's MTU carries.
    ///
    /// Concerns both directions, connections of this host and forwarded ones, IPv4 and IPv6. Acts on the calling
    /// thread's network namespace.
    pub fn clamp_segment_size(device: &str) -> Result<Self, NftError> {
        let mut batch = Batch::begin();
        batch.table(TABLE).postrouting_chain(TABLE, CHAIN);
        for interface in [Interface::Output, Interface::Input] {
            batch.clamp_rule(TABLE, CHAIN, interface, device);
        }
        let (bytes, changes) = batch.end();

        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(NftError::Socket)?;
        socket.bind_auto().map_err(NftError::Socket)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(NftError::Socket)?;
        socket.send(&bytes, 0).map_err(NftError::Socket)?;
        acknowledged(&socket, changes).map_err(explain)?;
        Ok(Self { _socket: socket })
    }
}

impl std::fmt::Debug for OwnedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnedTable").finish_non_exhaustive()
    }
}

/// Waits for one acknowledgement of each change; the first refusal undoes them all.
fn acknowledged(socket: &Socket, changes: usize) -> io::Result<()> {
    let mut awaited = changes;
    while awaited > 0 {
        let mut answer = Vec::with_capacity(ANSWER_BYTES);
        match socket.recv(&mut answer, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            received => received?,
        };
        // Acknowledgements look alike in every netlink family.
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let NetlinkPayload::Error(acknowledgement) = answer.payload else { continue };
        if let ErrorMessage { code: Some(_), .. } = acknowledgement {
            return Err(acknowledgement.to_io());
        }
        awaited -= 1;
    }
    Ok(())
}

fn explain(error: io::Error) -> NftError {
    match error.raw_os_error() {
        Some(libc::EEXIST) => NftError::Taken,
        // To one who may make tables, "not permitted" means that somebody else owns this one.
        Some(libc::EPERM) if capabilities::has(Capability::NetAdmin) => NftError::Taken,
        Some(libc::EPERM) => NftError::NotPermitted,
        _ => NftError::Refused(error),
    }
}

const TABLE: &str = "tunmesh";
const CHAIN: &str = "segment_size";
/// Room for an acknowledgement, which repeats the change.
const ANSWER_BYTES: usize = 8192;
