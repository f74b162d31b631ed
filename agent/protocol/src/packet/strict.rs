use base64_simd::forgiving_decode_inplace;
use serde_json::{Map, Value};

use super::{MAX_PACKET_LEN, PacketError, md5_hex};

/// A packet in any legal JSON.
pub(super) struct Packet {
    pub(super) ethertype: u16,
    pub(super) stamp: u64,
    pub(super) data: Vec<u8>,
}

/// Reads a packet as the format defines it, slowly: keys in any order, of two equal ones the last, unknown ones ignored,
/// any escapes and white space, base64 with any white space in it.
pub(super) fn decode(body: &[u8]) -> Result<Packet, PacketError> {
    let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|_| PacketError::Json)?;
    if fields.get("version").and_then(Value::as_f64) != Some(3.0) {
        return Err(PacketError::Version);
    }
    let ethertype = integer(&fields, "ethertype")?;
    let ethertype = u16::try_from(ethertype).map_err(|_| PacketError::Field { name: "ethertype" })?;
    let stamp = integer(&fields, "internal_stamp")?;
    let source = text(&fields, "source_node_id")?;
    let md5 = text(&fields, "md5")?;

    let mut data = text(&fields, "b64_data")?.as_bytes().to_vec();
    let len = forgiving_decode_inplace(&mut data).map_err(|_| PacketError::Base64)?.len();
    data.truncate(len);
    if data.is_empty() {
        return Err(PacketError::Empty);
    }
    if data.len() > MAX_PACKET_LEN {
        return Err(PacketError::TooLong);
    }
    let (ethertype_digits, stamp_digits) = (ethertype.to_string(), stamp.to_string());
    if md5.as_bytes() != md5_hex(&data, ethertype_digits.as_bytes(), stamp_digits.as_bytes(), source.as_bytes()) {
        return Err(PacketError::Md5);
    }
    Ok(Packet { ethertype, stamp, data })
}

fn integer(fields: &Map<String, Value>, name: &'static str) -> Result<u64, PacketError> {
    fields.get(name).and_then(Value::as_u64).ok_or(PacketError::Field { name })
}

fn text<'f>(fields: &'f Map<String, Value>, name: &'static str) -> Result<&'f str, PacketError> {
    fields.get(name).and_then(Value::as_str).ok_or(PacketError::Field { name })
}
