use crate::packet::{Decoder, PacketError, PacketRef};

impl Decoder {
    /// Reads a body of `packet/rx/batch`, a JSON array of JSON strings, and hands each packet to `each` as it is read.
    ///
    /// A packet that cannot be read is handed over as an error and the rest are read nevertheless. If the body itself
    /// proves malformed, what came before has been handed over. An empty object is an empty batch, as in the original.
    pub fn decode_batch(
        &mut self,
        body: &[u8],
        mut each: impl FnMut(Result<PacketRef<'_>, PacketError>),
    ) -> Result<(), BatchError> {
        let Some(list) = skip_space(body).strip_prefix(b"[") else {
            return if is_empty_object(body) { Ok(()) } else { Err(BatchError::NotAList) };
        };
        let mut rest = skip_space(list);
        if let Some(rest) = rest.strip_prefix(b"]") {
            return end(rest);
        }
        loop {
            rest = skip_space(self.element(rest, &mut each)?);
            rest = match rest {
                [b',', rest @ ..] => skip_space(rest),
                [b']', rest @ ..] => return end(rest),
                _ => return Err(BatchError::Json),
            };
        }
    }

    /// Reads one string of the list and returns what follows it.
    fn element<'b>(
        &mut self,
        list: &'b [u8],
        each: &mut impl FnMut(Result<PacketRef<'_>, PacketError>),
    ) -> Result<&'b [u8], BatchError> {
        let text = list.strip_prefix(b"\"").ok_or(BatchError::NotText)?;
        if let Some((packet, [b'"', rest @ ..])) = self.recognise_embedded(text) {
            each(Ok(packet));
            return Ok(rest);
        }
        let (text, rest) = list.split_at(1 + string_len(text).ok_or(BatchError::Json)?);
        let text: String = serde_json::from_slice(text).map_err(|_| BatchError::Json)?;
        each(self.decode_single(text.as_bytes()));
        Ok(rest)
    }
}

/// Why a batch, or what is left of it, cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not JSON.
    #[error("the batch is not JSON")]
    Json,
    /// Not a JSON array.
    #[error("the batch is not a list")]
    NotAList,
    /// An element is no JSON string.
    #[error("an element of the batch is not text")]
    NotText,
}

fn is_empty_object(body: &[u8]) -> bool {
    let inside = skip_space(body).strip_prefix(b"{").map(skip_space);
    inside.and_then(|inside| inside.strip_prefix(b"}")).is_some_and(|rest| end(rest).is_ok())
}

fn end(rest: &[u8]) -> Result<(), BatchError> {
    if skip_space(rest).is_empty() { Ok(()) } else { Err(BatchError::Json) }
}

/// Length of a JSON string and its closing quote, given what follows its opening quote.
fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Skips what JSON takes for white space.
fn skip_space(text: &[u8]) -> &[u8] {
    let len = text.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(text.len());
    &text[len..]
}
