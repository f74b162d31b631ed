//! The IPv4 headers the original was given, and what it made of them.

use proptest::prelude::*;
use tunmesh_packet::{is_checksum_valid, parse};

#[test]
fn every_recorded_header_is_accepted_or_refused_as_by_the_original() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../protocol/tests/vectors/tunmesh-v0/vectors.json")).unwrap();
    let cases = vectors["ipv4"].as_array().unwrap();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let outcome = parse(&unhex(case["hex"].as_str().unwrap()));
        let Ok(header) = outcome else {
            assert_eq!(case["ok"], false, "{case}: {outcome:?}");
            continue;
        };
        assert_eq!(case["ok"], true, "{case}");
        assert_eq!(header.source().to_string(), case["source"].as_str().unwrap());
        assert_eq!(header.destination().to_string(), case["dest"].as_str().unwrap());
    }
}

#[test]
fn options_and_padding_are_counted() {
    let options = unhex("46000018fdd240004001b95cc0a8810ac0a8811e01010100");
    let header = parse(&options).unwrap();
    assert_eq!((header.header_len(), header.total_len(), header.protocol()), (24, 24, 1));

    let padded = unhex("4500001cfdd240004001b95cc0a8810ac0a8811e080048931122334455");
    let header = parse(&padded).unwrap();
    assert_eq!((header.header_len(), header.total_len()), (20, 28));
    assert_eq!(header.trim(&padded).len(), 28);
}

#[test]
fn the_checksum_of_a_recorded_header_is_valid() {
    let header = unhex("45000054fdd240004001b95cc0a8810ac0a8811e");
    assert!(is_checksum_valid(&header));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        if let Ok(header) = parse(&bytes) {
            prop_assert!(header.header_len() <= header.total_len());
            prop_assert!(header.total_len() <= bytes.len());
            prop_assert_eq!(parse(header.trim(&bytes)), Ok(header));
        }
    }

    #[test]
    fn nearly_right_headers_do_not_make_the_parser_panic(
        first in prop_oneof![0x40u8..=0x4f, 0x60u8..=0x6f],
        length in 0u16..200,
        mut bytes in prop::collection::vec(any::<u8>(), 6..160),
    ) {
        bytes[0] = first;
        let at = if first < 0x60 { 2 } else { 4 };
        bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
        if let Ok(header) = parse(&bytes) {
            prop_assert!(header.total_len() <= bytes.len());
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two digits")).collect()
}
