use crate::identity::RefusedRecord;
use crate::wire::Malformed;

/// Why a datagram, or one record in it, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The sender's clock and ours differ by more than is allowed, or the datagram is that old.
    #[error("the datagram is too old, or a clock is wrong")]
    ClockSkew,
    /// Our own datagram came back.
    #[error("our own datagram")]
    Itself,
    /// We have left.
    #[error("we have left the mesh")]
    Left,
    /// Opened, but not of the documented form.
    #[error("the datagram is malformed")]
    Malformed,
    /// Not a sealed datagram of this protocol, by its first byte or its length.
    #[error("not a datagram of this protocol")]
    NotGossip,
    /// The datagram was taken; this record in it was not.
    #[error("a record is refused")]
    Record(#[source] RefusedRecord),
    /// Seen before, or so late that this cannot be told.
    #[error("the datagram was seen before")]
    Replayed,
    /// More senders than can be told apart.
    #[error("no room for another sender")]
    TooManySenders,
    /// Not sealed with the secret it names, or altered.
    #[error("the datagram was altered or sealed with another secret")]
    Unauthentic,
    /// Sealed with a secret that is not in the key ring.
    #[error("sealed with a secret that is not known here")]
    UnknownKey,
}

impl From<Malformed> for Refused {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}
