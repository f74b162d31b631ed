use memchr::memchr2;

/// The constant parts of a packet as we and the original write it, in order.
pub(super) struct Layout {
    /// Up to the ethertype.
    pub(super) head: &'static [u8],
    /// Between the ethertype and the base64.
    pub(super) data: &'static [u8],
    /// A line break within the base64, never written by us.
    line_break: &'static [u8],
    /// Between the base64 and the MD5.
    pub(super) md5: &'static [u8],
    /// Between the MD5 and the stamp.
    pub(super) stamp: &'static [u8],
    /// Between the stamp and the source id.
    pub(super) source: &'static [u8],
    /// After the source id.
    pub(super) tail: &'static [u8],
}

/// A packet that is a body of its own.
pub(super) const PLAIN: Layout = Layout {
    head: br#"{"version":3,"ethertype":"#,
    data: br#","b64_data":""#,
    line_break: br"\n",
    md5: br#"","md5":""#,
    stamp: br#"","internal_stamp":"#,
    source: br#","source_node_id":""#,
    tail: br#""}"#,
};

/// A packet inside a JSON string, without the quotes around that.
pub(super) const EMBEDDED: Layout = Layout {
    head: br#"{\"version\":3,\"ethertype\":"#,
    data: br#",\"b64_data\":\""#,
    line_break: br"\\n",
    md5: br#"\",\"md5\":\""#,
    stamp: br#"\",\"internal_stamp\":"#,
    source: br#",\"source_node_id\":\""#,
    tail: br#"\"}"#,
};

/// The varying parts of a packet, as they stand in the body.
pub(super) struct Parts<'b> {
    pub(super) ethertype: Decimal<'b>,
    /// The base64 up to its first line break.
    pub(super) base64: &'b [u8],
    /// Whether there are line breaks; then all of the base64 is in the buffer handed to [`split`].
    pub(super) wrapped: bool,
    pub(super) md5: &'b [u8],
    pub(super) stamp: Decimal<'b>,
    pub(super) source: &'b [u8],
}

/// An unsigned integer and the digits it was read from.
#[derive(Clone, Copy)]
pub(super) struct Decimal<'b> {
    pub(super) value: u64,
    pub(super) digits: &'b [u8],
}

/// Finds the parts of a packet at the start of `body` and what follows the packet.
///
/// `None` says only that the packet is not written exactly like this, so it may still be a good one. Base64 and MD5 are
/// not looked at; a packet for which both fit is legal JSON and means what the parts say.
pub(super) fn split<'b>(layout: &Layout, body: &'b [u8], unwrapped: &mut Vec<u8>) -> Option<(Parts<'b>, &'b [u8])> {
    let (ethertype, rest) = decimal(body.strip_prefix(layout.head)?)?;
    let rest = rest.strip_prefix(layout.data)?;
    let (base64, wrapped, rest) = base64(layout, rest, unwrapped)?;
    let (md5, rest) = rest.split_at_checked(MD5_DIGITS)?;
    let (stamp, rest) = decimal(rest.strip_prefix(layout.stamp)?)?;
    let rest = rest.strip_prefix(layout.source)?;
    let (source, rest) = rest.split_at(memchr2(b'"', b'\\', rest)?);
    if !source.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return None;
    }
    let rest = rest.strip_prefix(layout.tail)?;
    Some((Parts { ethertype, base64, wrapped, md5, stamp, source }, rest))
}

/// Finds the end of the base64; what is returned last comes after the opening quote of the MD5.
fn base64<'b>(layout: &Layout, text: &'b [u8], unwrapped: &mut Vec<u8>) -> Option<(&'b [u8], bool, &'b [u8])> {
    let (first, mut rest) = text.split_at(memchr2(b'"', b'\\', text)?);
    if let Some(rest) = rest.strip_prefix(layout.md5) {
        return Some((first, false, rest));
    }
    unwrapped.clear();
    unwrapped.extend_from_slice(first);
    loop {
        rest = rest.strip_prefix(layout.line_break)?;
        let line;
        (line, rest) = rest.split_at(memchr2(b'"', b'\\', rest)?);
        unwrapped.extend_from_slice(line);
        if let Some(rest) = rest.strip_prefix(layout.md5) {
            return Some((first, true, rest));
        }
    }
}

/// Reads the digits of an unsigned integer as JSON allows them: no leading zero, at most `u64::MAX`.
fn decimal(text: &[u8]) -> Option<(Decimal<'_>, &[u8])> {
    let len = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(len);
    if digits.is_empty() || (digits[0] == b'0' && len > 1) {
        return None;
    }
    let mut value: u64 = 0;
    for digit in digits {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some((Decimal { value, digits }, rest))
}

const MD5_DIGITS: usize = 32;
