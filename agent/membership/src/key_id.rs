use std::fmt;

/// The public name of a cluster secret: 4 bytes derived from it that tell nothing else about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({:08x})", u32::from_be_bytes(self.0))
    }
}
