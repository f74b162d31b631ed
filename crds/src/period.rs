use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::schema;

/// A length of time in whole seconds, written in hours, minutes and seconds: `24h`, `1h30m`, `90s`.
///
/// A subset of what Go's `time.ParseDuration` takes, so that CEL's `duration()` reads it too. Each number has at most
/// five digits, so no sum overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    seconds: u32,
}

/// A text that is no [`Period`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no period: write hours, minutes and seconds in this order, such as 24h, 1h30m or 90s")]
pub struct ParsePeriodError {
    text: String,
}

impl Period {
    /// `hours` full hours.
    pub const fn from_hours(hours: u16) -> Self {
        Self { seconds: hours as u32 * HOUR }
    }

    /// The same as a [`Duration`].
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.seconds as u64)
    }
}

impl Display for Period {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.seconds;
        for (unit, length) in UNITS {
            if rest >= length {
                write!(f, "{}{unit}", rest / length)?;
                rest %= length;
            }
        }
        if self.seconds == 0 { f.write_str("0s") } else { Ok(()) }
    }
}

impl FromStr for Period {
    type Err = ParsePeriodError;

    fn from_str(text: &str) -> Result<Self, ParsePeriodError> {
        let error = || ParsePeriodError { text: text.to_owned() };
        let (mut seconds, mut rest) = (0, text);
        for (unit, length) in UNITS {
            let Some((number, after)) = rest.split_once(unit) else { continue };
            if number.is_empty() || number.len() > MAX_DIGITS || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(error());
            }
            seconds += number.parse::<u32>().map_err(|_| error())? * length;
            rest = after;
        }
        if text.is_empty() || !rest.is_empty() {
            return Err(error());
        }
        Ok(Self { seconds })
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::text(MAX_LENGTH, RULES)
    }
}

/// Guards a rule on a [`Period`] against text that `duration()` would stumble over: that text has a refusal of its own.
macro_rules! is_period {
    ($field:literal) => {
        concat!($field, ".matches('^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?$')")
    };
}
pub(crate) use is_period;

const RULES: &[schema::Rule] = &[(
    is_period!("self"),
    "a period is hours, minutes and seconds in this order, at most five digits each: write 24h, 1h30m or 90s",
)];

const UNITS: [(char, u32); 3] = [('h', HOUR), ('m', 60), ('s', 1)];
const HOUR: u32 = 3600;
const MAX_DIGITS: usize = 5;
/// Three times five digits and a unit.
const MAX_LENGTH: u32 = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_read_and_written() {
        for (text, seconds, written) in [
            ("24h", 86_400, "24h"),
            ("1h30m", 5400, "1h30m"),
            ("90m", 5400, "1h30m"),
            ("0s", 0, "0s"),
            ("0h", 0, "0s"),
            ("90s", 90, "1m30s"),
            ("99999h99999m99999s", 366_096_339, "101693h25m39s"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.seconds, period.to_string().as_str()), (seconds, written), "{text}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "1", "h", "1d", "30m1h", "1h1h", "1.5h", "-1h", "+1h", "100000h", "1h ", "１h"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
