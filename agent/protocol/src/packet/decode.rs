use base64_simd::{Out, STANDARD};

use super::layout::{EMBEDDED, Layout, PLAIN, split};
use super::{MAX_PACKET_LEN, PacketError, PacketRef, md5_hex, strict};
use crate::Stamp;

/// Reads packets into its own buffer, one at a time.
///
/// What we and the original write is recognised byte for byte and read without an intermediate text; everything else goes
/// through a JSON parser. Both ways accept the same packets.
pub struct Decoder {
    /// Bytes of the last packet, [`MAX_PACKET_LEN`] long.
    data: Box<[u8]>,
    /// Base64 of a packet with the line breaks taken out.
    unwrapped: Vec<u8>,
}

impl Decoder {
    /// A decoder with its 64 KiB of buffer.
    pub fn new() -> Self {
        Self { data: vec![0; MAX_PACKET_LEN].into(), unwrapped: Vec::new() }
    }

    /// Reads a body that is one packet.
    pub fn decode_single(&mut self, body: &[u8]) -> Result<PacketRef<'_>, PacketError> {
        let found = match self.recognise(&PLAIN, body) {
            Some((found, [])) => found,
            Some(_) | None => {
                let packet = strict::decode(body)?;
                self.data[..packet.data.len()].copy_from_slice(&packet.data);
                Found { ethertype: packet.ethertype, stamp: packet.stamp, len: packet.data.len() }
            }
        };
        Ok(self.packet(&found))
    }

    /// Recognises a packet at the start of a JSON string, `text` being what follows the opening quote, and returns what
    /// follows the packet.
    pub(crate) fn recognise_embedded<'b>(&mut self, text: &'b [u8]) -> Option<(PacketRef<'_>, &'b [u8])> {
        let (found, rest) = self.recognise(&EMBEDDED, text)?;
        Some((self.packet(&found), rest))
    }

    fn recognise<'b>(&mut self, layout: &Layout, body: &'b [u8]) -> Option<(Found, &'b [u8])> {
        let (parts, rest) = split(layout, body, &mut self.unwrapped)?;
        let base64 = if parts.wrapped { &self.unwrapped } else { parts.base64 };
        if base64.is_empty() || base64.len() > MAX_BASE64_LEN {
            return None;
        }
        let data = STANDARD.decode(base64, Out::from_slice(&mut self.data)).ok()?;
        let ethertype = u16::try_from(parts.ethertype.value).ok()?;
        let md5 = md5_hex(data, parts.ethertype.digits, parts.stamp.digits, parts.source);
        (parts.md5 == md5).then_some((Found { ethertype, stamp: parts.stamp.value, len: data.len() }, rest))
    }

    fn packet(&self, found: &Found) -> PacketRef<'_> {
        PacketRef { ethertype: found.ethertype, stamp: Stamp::from_raw(found.stamp), data: &self.data[..found.len] }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// A packet whose bytes are the first `len` of the buffer.
struct Found {
    ethertype: u16,
    stamp: u64,
    len: usize,
}

/// Characters of base64 for [`MAX_PACKET_LEN`] bytes, which are a whole number of groups of three.
const MAX_BASE64_LEN: usize = MAX_PACKET_LEN / 3 * 4;
const _: () = assert!(MAX_PACKET_LEN.is_multiple_of(3));
