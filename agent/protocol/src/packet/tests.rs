use proptest::prelude::*;

use super::{PacketError, layout, strict};
use crate::{Decoder, Encoder, NodeId, Stamp};

const SOURCE: &str = "03990793-5553-4cbb-a02b-2c27f02308c6";

#[test]
fn the_body_is_that_of_the_original_with_the_base64_in_one_line() {
    let mut out = Vec::new();

    encoder().encode_single(2048, b"abc", Stamp::from_raw(5), &mut out);

    let body = r#"{"version":3,"ethertype":2048,"b64_data":"YWJj","md5":"b6178bf389be8fea73c8e3330f108457","internal_stamp":5,"source_node_id":"03990793-5553-4cbb-a02b-2c27f02308c6"}"#;
    assert_eq!(String::from_utf8(out).unwrap(), body);
}

#[test]
fn a_packet_has_1_to_65535_bytes() {
    for (len, outcome) in [
        (0, Err(PacketError::Empty)),
        (1, Ok(1)),
        (65534, Ok(65534)),
        (65535, Ok(65535)),
        (65536, Err(PacketError::TooLong)),
        (65538, Err(PacketError::TooLong)),
        (70000, Err(PacketError::TooLong)),
    ] {
        let body = wire(&vec![7; len], 60);
        assert_eq!(Decoder::new().decode_single(body.as_bytes()).map(|packet| packet.data.len()), outcome, "{len}");
    }
}

#[test]
fn every_field_is_needed_and_has_one_type_and_range() {
    let good = wire(b"abc", 60);
    let field = |name| Err(PacketError::Field { name });
    for (from, to, outcome) in [
        ("", "", Ok(())),
        (r#""version":3"#, r#""version":3.0"#, Ok(())),
        (r#""version":3"#, r#""version":"3""#, Err(PacketError::Version)),
        (r#""version":3"#, r#""version":2"#, Err(PacketError::Version)),
        (r#""version":3,"#, "", Err(PacketError::Version)),
        (r#""ethertype":2048"#, r#""ethertype":70000"#, field("ethertype")),
        (r#""ethertype":2048"#, r#""ethertype":02048"#, Err(PacketError::Json)),
        (r#""ethertype":2048"#, r#""ethertype":"2048""#, field("ethertype")),
        (r#""ethertype":2048"#, r#""ethertype":2049"#, Err(PacketError::Md5)),
        (r#""internal_stamp":5"#, r#""internal_stamp":-5"#, field("internal_stamp")),
        (r#""internal_stamp":5"#, r#""internal_stamp":5.5"#, field("internal_stamp")),
        (r#""internal_stamp":5"#, r#""internal_stamp":18446744073709551616"#, field("internal_stamp")),
        (r#""internal_stamp":5"#, r#""internal_stamp":6"#, Err(PacketError::Md5)),
        ("b6178bf", "B6178BF", Err(PacketError::Md5)),
        ("\"b6178bf389be8fea73c8e3330f108457\"", "null", field("md5")),
        (r#""b64_data":"YWJj\n","#, "", field("b64_data")),
        ("YWJj", "!!!!", Err(PacketError::Base64)),
        ("YWJj", "YW-j", Err(PacketError::Base64)),
        ("YWJj", "YWJk", Err(PacketError::Md5)),
        ("\"03990793", "\"13990793", Err(PacketError::Md5)),
        ("\"}", "\" }", Ok(())),
        ("\"}", "\"}]", Err(PacketError::Json)),
        ("\"}", "\",\"priority\":7}", Ok(())),
    ] {
        let body = good.replace(from, to);
        assert_eq!(Decoder::new().decode_single(body.as_bytes()).map(|_| ()), outcome, "{from} -> {to}");
    }
}

#[test]
fn a_bad_packet_of_a_batch_takes_no_other_with_it() {
    let good = quoted(&wire(b"abc", 60));
    let bad = good.replace("b6178bf", "0000000");
    let mut seen = Vec::new();

    let outcome = Decoder::new()
        .decode_batch(format!("[{good},{bad} ,\n{good}]").as_bytes(), |packet| seen.push(packet.map(|p| p.data.len())));

    assert_eq!(outcome, Ok(()));
    assert_eq!(seen, [Ok(3), Err(PacketError::Md5), Ok(3)]);
}

#[test]
fn a_batch_is_a_list_of_texts() {
    use crate::BatchError::{Json, NotAList, NotText};
    let object = wire(b"abc", 60);
    let objects = format!("[{object}]");
    for (body, outcome) in [
        ("[]", Ok(())),
        (" [ ] ", Ok(())),
        ("{}", Ok(())),
        ("{ }\n", Ok(())),
        ("{}}", Err(NotAList)),
        ("null", Err(NotAList)),
        ("", Err(NotAList)),
        (&object, Err(NotAList)),
        (&objects, Err(NotText)),
        ("[", Err(NotText)),
        ("[,]", Err(NotText)),
        ("[\"", Err(Json)),
        ("[\"a\\", Err(Json)),
        ("[\"\n\"]", Err(Json)),
        ("[\"a\"", Err(Json)),
        ("[\"a\",]", Err(NotText)),
        ("[\"a\"]]", Err(Json)),
    ] {
        assert_eq!(Decoder::new().decode_batch(body.as_bytes(), |_| ()), outcome, "{body}");
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_on_both_ways(
        packets in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 1..3000), any::<u64>()), 0..5)
    ) {
        let encoder = encoder();
        let mut batch = b"left as it is".to_vec();
        encoder.begin_batch(&mut batch);
        for (ethertype, data, stamp) in &packets {
            let mut body = Vec::new();
            encoder.encode_single(*ethertype, data, Stamp::from_raw(*stamp), &mut body);
            encoder.push(*ethertype, data, Stamp::from_raw(*stamp), &mut batch);

            let strict = strict::decode(&body).unwrap();
            prop_assert_eq!((strict.ethertype, strict.stamp, &strict.data), (*ethertype, *stamp, data));
            let mut decoder = Decoder::new();
            let packet = decoder.decode_single(&body).unwrap();
            prop_assert_eq!((packet.ethertype, packet.stamp.as_raw(), packet.data), (*ethertype, *stamp, &data[..]));
            prop_assert!(layout::split(&layout::PLAIN, &body, &mut Vec::new()).is_some(), "our own form is recognised");
        }
        encoder.finish_batch(&mut batch);

        let mut seen = Vec::new();
        let body = batch.strip_prefix(b"left as it is").unwrap();
        Decoder::new().decode_batch(body, |packet| {
            let packet = packet.unwrap();
            seen.push((packet.ethertype, packet.data.to_vec(), packet.stamp.as_raw()));
        }).unwrap();
        prop_assert_eq!(seen, packets);
    }

    #[test]
    fn both_ways_agree_on_a_damaged_packet(
        data in prop::collection::vec(any::<u8>(), 0..200), width in 1..100_usize, damage in damage()
    ) {
        let body = apply(wire(&data, width).into_bytes(), &damage);

        let expected = strict::decode(&body).map(|packet| (packet.ethertype, packet.stamp, packet.data));

        prop_assert_eq!(single(&body), expected);
    }

    #[test]
    fn a_damaged_batch_is_read_as_a_json_parser_reads_it(
        packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..100), 1..100_usize), 0..4),
        damage in damage(),
    ) {
        let texts: Vec<_> = packets.iter().map(|(data, width)| quoted(&wire(data, *width))).collect();
        let body = apply(format!("[{}]", texts.join(",")).into_bytes(), &damage);

        let mut seen = Vec::new();
        let outcome = Decoder::new().decode_batch(&body, |packet| {
            seen.push(packet.map(|packet| (packet.ethertype, packet.stamp.as_raw(), packet.data.to_vec())));
        });

        match serde_json::from_slice::<Vec<String>>(&body) {
            Ok(texts) => {
                prop_assert_eq!(outcome, Ok(()));
                let strict = |text: &String| strict::decode(text.as_bytes()).map(|p| (p.ethertype, p.stamp, p.data));
                prop_assert_eq!(seen, texts.iter().map(strict).collect::<Vec<_>>());
            }
            Err(_) => {
                let is_object = serde_json::from_slice::<serde_json::Map<_, _>>(&body).is_ok_and(|map| map.is_empty());
                prop_assert_eq!(outcome.is_ok(), is_object, "an empty object is an empty batch, all else an error");
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_quietly(body in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Decoder::new().decode_single(&body).is_err());
        prop_assert!(Decoder::new().decode_batch(&body, |_| ()).is_err());
    }
}

fn encoder() -> Encoder {
    Encoder::new(&SOURCE.parse::<NodeId>().unwrap())
}

fn single(body: &[u8]) -> Result<(u16, u64, Vec<u8>), PacketError> {
    let mut decoder = Decoder::new();
    decoder.decode_single(body).map(|packet| (packet.ethertype, packet.stamp.as_raw(), packet.data.to_vec()))
}

/// A packet as the original writes it, the base64 in lines of `width` characters.
fn wire(data: &[u8], width: usize) -> String {
    let base64 = base64_simd::STANDARD.encode_to_string(data);
    let lines: String =
        base64.as_bytes().chunks(width).map(|line| format!("{}\\n", std::str::from_utf8(line).unwrap())).collect();
    let md5 = super::md5_hex(data, b"2048", b"5", SOURCE.as_bytes());
    let md5 = std::str::from_utf8(&md5).unwrap();
    format!(
        r#"{{"version":3,"ethertype":2048,"b64_data":"{lines}","md5":"{md5}","internal_stamp":5,"source_node_id":"{SOURCE}"}}"#
    )
}

fn quoted(packet: &str) -> String {
    serde_json::to_string(packet).unwrap()
}

/// Up to three places in a body and what is put there in the stead of how many bytes.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, Vec<u8>)>> {
    let pieces: [&[u8]; 20] = [
        b"", b" ", b"\n", b"\\", b"\"", b"\\n", b"\\r\\n", b"\\\\n", b"\\u0041", b"0", b"9", b"A", b"=", b"-", b",",
        b"{", b"}", b"]", b"\xff", b"\x00",
    ];
    let piece = prop::sample::select(pieces.map(<[u8]>::to_vec).to_vec());
    prop::collection::vec((any::<prop::sample::Index>(), 0..3_usize, piece), 0..4)
}

fn apply(mut body: Vec<u8>, damage: &[(prop::sample::Index, usize, Vec<u8>)]) -> Vec<u8> {
    for (place, len, piece) in damage {
        let start = place.index(body.len() + 1);
        let end = (start + len).min(body.len());
        body.splice(start..end, piece.iter().copied());
    }
    body
}
