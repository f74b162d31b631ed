/// A whole number as Ruby and YAML 1.1 write it: decimal, `0x` hexadecimal, `0b` binary, `0o` or a leading `0` octal, with
/// `_` between digits.
pub(super) fn whole(text: &str) -> Option<i64> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &unsigned[2..]),
        [b'0', b'b' | b'B', ..] => (2, &unsigned[2..]),
        [b'0', b'o' | b'O', ..] => (8, &unsigned[2..]),
        [b'0', _, ..] => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    if !digits.split('_').all(|part| !part.is_empty() && part.chars().all(|digit| digit.is_digit(radix))) {
        return None;
    }
    let number = i64::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    Some(if text.starts_with('-') { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_those_of_ruby() {
        for (text, expected) in [
            ("0", 0),
            ("4567", 4567),
            ("+5", 5),
            ("-1", -1),
            ("010", 8),
            ("0o17", 15),
            ("0x11d7", 4567),
            ("-0X10", -16),
            ("0b101", 5),
            ("1_000", 1000),
        ] {
            assert_eq!(whole(text), Some(expected), "{text}");
        }
        for text in
            ["", "-", "08", "0x", "0x-1", "--1", "_1", "1_", "1__0", "1.0", "1e3", "0\u{e9}", "9223372036854775808"]
        {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
