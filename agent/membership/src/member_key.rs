use aws_lc_rs::digest::{SHA256, digest};
use tunmesh_protocol::NodeId;

/// How members are named in datagrams and tables: the first 8 bytes of the SHA-256 of the id, big endian.
///
/// Its order is the ring on which members choose whom to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberKey(pub(crate) u64);

impl MemberKey {
    pub(crate) fn of(id: &NodeId) -> Self {
        Self::of_text(id.as_str())
    }

    pub(crate) fn of_text(id: &str) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&digest(&SHA256, id.as_bytes()).as_ref()[..8]);
        Self(u64::from_be_bytes(first))
    }
}
