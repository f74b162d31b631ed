use super::number::whole;
use crate::Window;

/// Reads a duration in seconds: `10`, `1.5`, `30s`, `5m`, `1h`, `2d`, or a range of those such as `5..10s`, out of which one
/// value is chosen by `random` (0 to 1).
///
/// `plain` tells an unquoted value: an unquoted integer stays one on the wire, everything else becomes a float.
pub(super) fn read(text: &str, plain: bool, random: &mut dyn FnMut() -> f64) -> Result<Window, &'static str> {
    let text = text.trim().to_lowercase();
    if plain && let Some(seconds) = whole(&text) {
        return Ok(Window { seconds: seconds as f64, integer: true });
    }
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        Some((at, 'd')) => (&text[..at], 86400.0),
        _ => (text.as_str(), 1.0),
    };
    let seconds = match number.split_once("..") {
        None => seconds(number)?,
        Some((min, max)) => {
            let (min, max) = (seconds(min)?, seconds(max)?);
            if min > max {
                return Err("the range ends before it begins");
            }
            min + (max - min) * random().clamp(0.0, 1.0)
        }
    };
    Ok(Window { seconds: seconds * unit, integer: false })
}

fn seconds(text: &str) -> Result<f64, &'static str> {
    let number: f64 = text.trim().parse().map_err(|_| "it is not a duration")?;
    if number.is_finite() { Ok(number) } else { Err("it is not a duration") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds_of(text: &str) -> Result<f64, &'static str> {
        read(text, false, &mut || 0.5).map(|window| window.seconds)
    }

    #[test]
    fn units_and_ranges_are_those_of_the_original() {
        for (text, expected) in [
            ("12", 12.0),
            ("30s", 30.0),
            ("5M", 300.0),
            ("1.5m", 90.0),
            ("1h", 3600.0),
            ("2d", 172_800.0),
            ("5 s", 5.0),
            ("1e2", 100.0),
            ("5..9", 7.0),
            ("1..2m", 90.0),
        ] {
            assert_eq!(seconds_of(text), Ok(expected), "{text}");
        }
        for text in ["", "soon", "5x", "1..2..3", "9..5", "nan", "inf"] {
            assert!(seconds_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_an_unquoted_integer_stays_one() {
        assert!(read("5", true, &mut || 0.0).unwrap().integer);
        assert_eq!(read("010", true, &mut || 0.0), Ok(Window { seconds: 8.0, integer: true }));
        assert_eq!(read("010", false, &mut || 0.0), Ok(Window { seconds: 10.0, integer: false }));
        assert!(!read("5", false, &mut || 0.0).unwrap().integer);
        assert!(!read("5.0", true, &mut || 0.0).unwrap().integer);
    }
}
