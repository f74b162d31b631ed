//! Messages as bytes (paper, section 5.4). Integers are little endian; reserved bytes are zero.
//!
//! ```text
//! Initiation  1, reserved 3 | sender 4 | ephemeral 32 | static 48 | timestamp 28 | mac1 16 | mac2 16      148 bytes
//! Response    2, reserved 3 | sender 4 | receiver 4 | ephemeral 32 | empty 16 | mac1 16 | mac2 16          92 bytes
//! Cookie      3, reserved 3 | receiver 4 | nonce 24 | cookie 32                                            64 bytes
//! Transport   4, flags 1, reserved 2 | receiver 4 | counter 8 | sealed packet, tag 16                      from 32 bytes
//! ```
//!
//! The flags of a transport message are those of [`Suite::Aegis`](crate::Suite); with `ChaChaPoly` they are reserved.

use std::ops::Range;

/// Kind of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// First message of a handshake, type 1.
    Initiation,
    /// Second message of a handshake, type 2.
    Response,
    /// A cookie in place of an answer, type 3.
    Cookie,
    /// A sealed packet, type 4.
    Transport,
}

/// What `datagram` claims to be; `None` if its length or its reserved bytes fit no message.
pub fn message_type(datagram: &[u8]) -> Option<MessageType> {
    match (datagram.len(), *datagram.first_chunk()?) {
        (INITIATION_LEN, [1, 0, 0, 0]) => Some(MessageType::Initiation),
        (RESPONSE_LEN, [2, 0, 0, 0]) => Some(MessageType::Response),
        (COOKIE_LEN, [3, 0, 0, 0]) => Some(MessageType::Cookie),
        (TRANSPORT_OVERHEAD.., [TRANSPORT, _, 0, 0]) => Some(MessageType::Transport),
        _ => None,
    }
}

/// The receiver index of `datagram`: of the session if it is a transport message, of the handshake if it is a response or
/// a cookie. `None` if it is neither.
pub fn receiver_index(datagram: &[u8]) -> Option<u32> {
    let at = match message_type(datagram)? {
        MessageType::Initiation => return None,
        MessageType::Response => RESPONSE_RECEIVER,
        MessageType::Cookie | MessageType::Transport => 4,
    };
    index_at(datagram, at)
}

/// The sender index of an initiation or a response.
pub(crate) fn sender_index(datagram: &[u8]) -> Option<u32> {
    index_at(datagram, 4)
}

pub(crate) fn initiation(sender: u32, body: &[u8; INITIATION_BODY_LEN]) -> Vec<u8> {
    let mut datagram = vec![0; INITIATION_LEN];
    datagram[0] = 1;
    datagram[4..8].copy_from_slice(&sender.to_le_bytes());
    datagram[INITIATION_BODY].copy_from_slice(body);
    datagram
}

pub(crate) fn response(sender: u32, receiver: u32, body: &[u8; RESPONSE_BODY_LEN]) -> Vec<u8> {
    let mut datagram = vec![0; RESPONSE_LEN];
    datagram[0] = 2;
    datagram[4..8].copy_from_slice(&sender.to_le_bytes());
    datagram[8..12].copy_from_slice(&receiver.to_le_bytes());
    datagram[RESPONSE_BODY].copy_from_slice(body);
    datagram
}

fn index_at(datagram: &[u8], at: usize) -> Option<u32> {
    datagram.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// First byte of a transport message.
pub(crate) const TRANSPORT: u8 = 4;

/// Header and tag of a transport message.
pub(crate) const TRANSPORT_OVERHEAD: usize = 32;

pub(crate) const INITIATION_LEN: usize = 148;
pub(crate) const INITIATION_BODY: Range<usize> = 8..116;
pub(crate) const INITIATION_BODY_LEN: usize = 108;

pub(crate) const RESPONSE_LEN: usize = 92;
pub(crate) const RESPONSE_BODY: Range<usize> = 12..60;
pub(crate) const RESPONSE_BODY_LEN: usize = 48;
const RESPONSE_RECEIVER: usize = 8;

pub(crate) const COOKIE_LEN: usize = 64;

const _: () = assert!(INITIATION_BODY.end - INITIATION_BODY.start == INITIATION_BODY_LEN);
const _: () = assert!(RESPONSE_BODY.end - RESPONSE_BODY.start == RESPONSE_BODY_LEN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_fits_only_with_its_length_and_zero_reserved_bytes() {
        let types = [
            (1, 148, MessageType::Initiation),
            (2, 92, MessageType::Response),
            (3, 64, MessageType::Cookie),
            (4, 32, MessageType::Transport),
        ];
        for (first, len, kind) in types {
            let mut datagram = vec![0; len];
            datagram[0] = first;
            assert_eq!(message_type(&datagram), Some(kind));
            assert_eq!(message_type(&datagram[..len - 1]), None);
            datagram[3] = 1;
            assert_eq!(message_type(&datagram), None);
            datagram[3] = 0;
            datagram[1] = 1;
            assert_eq!(message_type(&datagram).is_some(), kind == MessageType::Transport);
        }
        assert_eq!(message_type(&[]), None);
        assert_eq!(message_type(&[4, 0, 0]), None);
    }

    #[test]
    fn the_receiver_index_is_found_where_the_type_has_it() {
        assert_eq!(receiver_index(&response(1, 0x0403_0201, &[0; 48])), Some(0x0403_0201));
        assert_eq!(receiver_index(&initiation(7, &[0; 108])), None);
        let mut transport = vec![0; 40];
        transport[..8].copy_from_slice(&[4, 9, 0, 0, 1, 2, 3, 4]);
        assert_eq!(receiver_index(&transport), Some(0x0403_0201));
    }
}
