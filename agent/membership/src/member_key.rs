use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

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

/// A map by members; its order is the same in every run.
pub(crate) type KeyMap<V> = HashMap<MemberKey, V, BuildHasherDefault<KeyHasher>>;

/// Takes keys as they are: they are hashes already.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
