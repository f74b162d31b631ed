use serde::Serialize;

/// Writes a value that consists of objects with text keys, texts, finite numbers and booleans.
pub(crate) fn write(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("such values are JSON and a vector takes all bytes")
}
