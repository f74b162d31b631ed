/// How much a quantity of Kubernetes is, in nanos (10^-9), or nothing if the text is none or less than zero: a decimal
/// number, then `n`, `u`, `m`, `k`, `M`, `G`, `T`, `P`, `E`, one of these capitals or `K` with `i`, or an exponent.
///
/// More than 2^128 nanos count as that many; less than one nano counts as none.
pub(super) fn nanos(text: &str) -> Option<u128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || text.len() > MAX_LENGTH {
        return None;
    }
    let (multiplier, exponent) = scale(suffix)?;
    let exponent = exponent + 9 - i32::try_from(fraction.len()).ok()?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let digits = digits.saturating_mul(multiplier);
    let power = 10_u128.saturating_pow(exponent.unsigned_abs());
    Some(if exponent < 0 { digits / power } else { digits.saturating_mul(power) })
}

/// A multiplier and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']).filter(|exponent| !exponent.is_empty() && *exponent != "i")
    {
        return Some((1, exponent.parse().ok().filter(|exponent| (-MAX_EXPONENT..=MAX_EXPONENT).contains(exponent))?));
    }
    if let Some(binary) = suffix.strip_suffix('i') {
        let power = ["K", "M", "G", "T", "P", "E"].iter().position(|unit| *unit == binary)?;
        return Some((1024_u128.pow(u32::try_from(power).ok()? + 1), 0));
    }
    let exponent = match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => return None,
    };
    Some((1, exponent))
}

/// As the rules of `TunMesh` have it.
const MAX_LENGTH: usize = 32;
const MAX_EXPONENT: i32 = 99;

#[cfg(test)]
mod tests {
    use super::nanos;

    #[test]
    fn quantities_and_how_much_they_are() {
        for (text, expected) in [
            ("0", 0),
            ("1", 1_000_000_000),
            ("100m", 100_000_000),
            (".5", 500_000_000),
            ("+1.5k", 1_500_000_000_000),
            ("1.", 1_000_000_000),
            ("64Mi", 64 * 1024 * 1024 * 1_000_000_000),
            ("1Ei", (1 << 60) * 1_000_000_000),
            ("1E", 1_000_000_000_000_000_000_000_000_000),
            ("2e3", 2_000_000_000_000),
            ("2E-3", 2_000_000),
            ("0.0000000001", 0),
            ("9e99", u128::MAX),
        ] {
            assert_eq!(nanos(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_quantity() {
        for text in ["", ".", "m", "-1", "1.2.3", "1 ", "1x", "1mi", "1ki", "1e", "1ee3", "1e1.5", "1e100", "++1", "١"]
        {
            assert_eq!(nanos(text), None, "{text}");
        }
        assert_eq!(nanos(&"1".repeat(33)), None);
    }
}
