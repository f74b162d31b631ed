use base64_simd::STANDARD;

use super::layout::{EMBEDDED, Layout, PLAIN};
use super::{MAX_PACKET_LEN, md5_hex};
use crate::{NodeId, Stamp};

/// Writes packets of one node.
#[derive(Clone, Debug)]
pub struct Encoder {
    source: NodeId,
}

impl Encoder {
    /// Writes packets that name `source` as their sender.
    pub fn new(source: &NodeId) -> Self {
        Self { source: source.clone() }
    }

    /// Appends one packet of 1 to [`MAX_PACKET_LEN`] bytes: the body for `packet/rx`.
    pub fn encode_single(&self, ethertype: u16, data: &[u8], stamp: Stamp, out: &mut Vec<u8>) {
        self.encode(&PLAIN, ethertype, data, stamp, out);
    }

    /// Begins a body for `packet/rx/batch`: a JSON array of JSON strings, each of them a packet.
    ///
    /// ```text
    /// ["{\"version\":3,...}","{\"version\":3,...}"]
    /// ```
    pub fn begin_batch(&self, out: &mut Vec<u8>) {
        out.push(b'[');
    }

    /// Appends one packet of 1 to [`MAX_PACKET_LEN`] bytes to a batch that was begun.
    pub fn push(&self, ethertype: u16, data: &[u8], stamp: Stamp, out: &mut Vec<u8>) {
        // Every packet ends with a quote, so the bracket is last only in a batch without one.
        out.extend_from_slice(if out.ends_with(b"[") { b"\"" } else { b",\"" });
        self.encode(&EMBEDDED, ethertype, data, stamp, out);
        out.push(b'"');
    }

    /// Ends a batch; without packets it is an empty list, which is legal.
    pub fn finish_batch(&self, out: &mut Vec<u8>) {
        out.push(b']');
    }

    fn encode(&self, layout: &Layout, ethertype: u16, data: &[u8], stamp: Stamp, out: &mut Vec<u8>) {
        debug_assert!((1..=MAX_PACKET_LEN).contains(&data.len()), "a packet has 1 to 65535 bytes");
        let source = self.source.as_str().as_bytes();
        let (mut ethertype_buffer, mut stamp_buffer) = (itoa::Buffer::new(), itoa::Buffer::new());
        let ethertype = ethertype_buffer.format(ethertype).as_bytes();
        let stamp = stamp_buffer.format(stamp.as_raw()).as_bytes();

        out.reserve(STANDARD.encoded_length(data.len()) + source.len() + OVERHEAD);
        out.extend_from_slice(layout.head);
        out.extend_from_slice(ethertype);
        out.extend_from_slice(layout.data);
        STANDARD.encode_append(data, out);
        out.extend_from_slice(layout.md5);
        out.extend_from_slice(&md5_hex(data, ethertype, stamp, source));
        out.extend_from_slice(layout.stamp);
        out.extend_from_slice(stamp);
        out.extend_from_slice(layout.source);
        out.extend_from_slice(source);
        out.extend_from_slice(layout.tail);
    }
}

/// More than all of a packet in a batch but its base64 and the source id takes, in bytes.
const OVERHEAD: usize = 192;
