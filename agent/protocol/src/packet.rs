//! Packets: one object per IP packet.
//!
//! ```text
//! {"version":3,"ethertype":2048,"b64_data":"<base64>","md5":"<32 lower-case hex digits>",
//!  "internal_stamp":1927557009035656704,"source_node_id":"<id>"}
//! ```
//!
//! `md5` is over the data, `ethertype` and `internal_stamp` in decimal, and `source_node_id`, one after the other: a check
//! against mistakes, not against attackers, which the JWT over the body is for. The original breaks the base64 into lines
//! of 60 characters and accepts it in one line, which is what we send.
//!
//! A body posted to `packet/rx` is one such object; for `packet/rx/batch` see [`Encoder::begin_batch`].

mod decode;
mod encode;
mod layout;
mod strict;

#[cfg(test)]
mod tests;

use crate::Stamp;

pub use decode::Decoder;
pub use encode::Encoder;

/// Most bytes a packet may have, the most an IP packet can have.
pub const MAX_PACKET_LEN: usize = 65535;

/// A packet that was read, its bytes in the buffer of the [`Decoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketRef<'a> {
    /// What the bytes are: 0x0800 for IPv4. The bytes may still be something else.
    pub ethertype: u16,
    /// The clock of the sender when it read the packet; may be wrong.
    pub stamp: Stamp,
    /// 1 to [`MAX_PACKET_LEN`] bytes.
    pub data: &'a [u8],
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// `b64_data` is no base64 of the standard alphabet.
    #[error("b64_data is not base64")]
    Base64,
    /// A packet without bytes.
    #[error("the packet is empty")]
    Empty,
    /// A field is absent, of another type, or out of range.
    #[error("{name} is missing or malformed")]
    Field {
        /// The field.
        name: &'static str,
    },
    /// Not a JSON object.
    #[error("the packet is not a JSON object")]
    Json,
    /// `md5` is that of another packet.
    #[error("md5 does not fit the packet")]
    Md5,
    /// More bytes than an IP packet can have.
    #[error("the packet has more than {MAX_PACKET_LEN} bytes")]
    TooLong,
    /// A version of the format that nobody speaks.
    #[error("the version of the packet is not 3")]
    Version,
}

/// The MD5 of a packet in hex; `ethertype` and `stamp` in decimal.
fn md5_hex(data: &[u8], ethertype: &[u8], stamp: &[u8], source: &[u8]) -> [u8; 32] {
    use md5::{Digest, Md5};
    let digest =
        Md5::new().chain_update(data).chain_update(ethertype).chain_update(stamp).chain_update(source).finalize();
    let mut text = [0; 32];
    crate::hex::encode(&digest, &mut text);
    text
}
