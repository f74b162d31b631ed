use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Largest packet inside a mesh: `Auto`, or 1280 to 9000 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Mtu {
    /// What the smallest underlay between the members carries.
    #[default]
    Auto,
    /// So many bytes, at least [`MIN_MTU`] and at most [`MAX_MTU`].
    Bytes(u16),
}

/// A value that is no [`Mtu`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} is no MTU: write Auto, or a number from {MIN_MTU} to {MAX_MTU}")]
pub struct ParseMtuError {
    value: String,
}

impl Display for Mtu {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Bytes(bytes) => bytes.fmt(f),
        }
    }
}

impl JsonSchema for Mtu {
    fn schema_name() -> Cow<'static, str> {
        "Mtu".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "x-kubernetes-validations": [{
                "rule": format!("type(self) == string ? self == '{AUTO}' : self >= {MIN_MTU} && self <= {MAX_MTU}"),
                "message": format!("mtu must be {AUTO} or a number from {MIN_MTU} (RFC 8200, section 5) to {MAX_MTU}"),
            }],
        })
    }
}

/// Smallest MTU of a link that carries IPv6 (RFC 8200, section 5).
pub const MIN_MTU: u16 = 1280;
/// Largest MTU the agent gives its device.
pub const MAX_MTU: u16 = 9000;

const AUTO: &str = "Auto";

/// As it stands in an object.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(i64),
    Word(String),
}

impl From<Mtu> for Written {
    fn from(mtu: Mtu) -> Self {
        match mtu {
            Mtu::Auto => Self::Word(AUTO.to_owned()),
            Mtu::Bytes(bytes) => Self::Number(bytes.into()),
        }
    }
}

impl TryFrom<Written> for Mtu {
    type Error = ParseMtuError;

    fn try_from(written: Written) -> Result<Self, ParseMtuError> {
        match written {
            Written::Number(number) => u16::try_from(number)
                .ok()
                .filter(|bytes| (MIN_MTU..=MAX_MTU).contains(bytes))
                .map(Self::Bytes)
                .ok_or_else(|| ParseMtuError { value: number.to_string() }),
            Written::Word(word) if word == AUTO => Ok(Self::Auto),
            Written::Word(value) => Err(ParseMtuError { value }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_word_and_the_numbers_of_the_range_are_taken_and_nothing_else() {
        let read = |value: Value| serde_json::from_value::<Mtu>(value).ok();
        for (value, mtu) in
            [(json!("Auto"), Mtu::Auto), (json!(1280), Mtu::Bytes(1280)), (json!(9000), Mtu::Bytes(9000))]
        {
            assert_eq!(read(value.clone()), Some(mtu));
            assert_eq!(serde_json::to_value(mtu).unwrap(), value);
        }
        for value in [json!("auto"), json!("1400"), json!(1279), json!(9001), json!(-1400), json!(66_816), json!(null)]
        {
            assert_eq!(read(value.clone()), None, "{value}");
        }
    }
}
