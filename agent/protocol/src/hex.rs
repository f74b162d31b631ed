//! Lower-case hex. The protocol compares it as text, so upper case is another value and must not be read as the same.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes `bytes` into `text`, two digits per byte; `text` is twice as long.
pub(crate) fn encode<'t>(bytes: &[u8], text: &'t mut [u8]) -> &'t [u8] {
    debug_assert_eq!(text.len(), 2 * bytes.len(), "two digits per byte");
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0x0f)];
    }
    text
}

/// Reads exactly `N` bytes of lower-case hex.
pub(crate) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_upper_case_is_not() {
        let mut text = [0; 6];

        assert_eq!(encode(&[0x00, 0xaf, 0xff], &mut text), b"00afff");
        assert_eq!(decode(b"00afff"), Some([0x00, 0xaf, 0xff]));
        assert_eq!(decode::<3>(b"00AFFF"), None);
        assert_eq!(decode::<3>(b"00aff"), None);
        assert_eq!(decode::<3>(b"00affg"), None);
    }
}
