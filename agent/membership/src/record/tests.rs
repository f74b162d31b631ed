use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|ip| Ipv4Addr::from(ip).into()),
        any::<u128>().prop_map(|ip| Ipv6Addr::from(ip).into())
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let endpoint = (ip(), 1..=u16::MAX).prop_map(SocketAddr::from);
    let numbers = (any::<u64>(), any::<u64>(), any::<bool>(), any::<[u8; 32]>(), any::<u32>());
    let texts = ("[a-zA-Z0-9~:@._-]{1,128}", "https://[a-z]{1,60}:[1-9][0-9]{0,3}", "[ -~]{0,32}");
    let lists = (
        vec(endpoint, 0..=8),
        vec(ip().prop_map(IpNet::from), 0..=64),
        vec(ip(), 0..=64),
        vec(any::<[u8; 4]>().prop_map(KeyId), 0..=8),
    );
    (numbers, texts, lists).prop_map(|(numbers, texts, lists)| Record {
        incarnation: numbers.0,
        started: numbers.1,
        left: numbers.2,
        public_key: numbers.3,
        capabilities: Capabilities(numbers.4),
        id: texts.0.parse().unwrap(),
        url: texts.1.parse().unwrap(),
        version: texts.2,
        endpoints: lists.0,
        addresses: lists.1,
        groups: lists.2,
        secrets: lists.3,
    })
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(record in record()) {
        let encoded = record.encode();

        prop_assert_eq!(Record::peek(&encoded), Ok((record.id.as_str(), record.incarnation)));
        prop_assert_eq!(Record::decode(&encoded), Ok(record));
    }

    #[test]
    fn what_is_read_is_written_as_it_was(record in record(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(read) = Record::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn a_record_cut_short_or_followed_by_more_is_refused(record in record(), at in any::<prop::sample::Index>()) {
        let mut bytes = record.encode();

        prop_assert_eq!(Record::decode(&bytes[..at.index(bytes.len())]), Err(Malformed));
        bytes.push(0);
        prop_assert_eq!(Record::decode(&bytes), Err(Malformed));
    }

    #[test]
    fn any_bytes_are_a_record_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        let _either = Record::decode(&bytes);
        let _either = Record::peek(&bytes);
    }
}

fn draft() -> RecordDraft {
    RecordDraft {
        id: "n1".parse().unwrap(),
        url: "https://n1:4567".parse().unwrap(),
        endpoints: vec!["192.0.2.1:4600".parse().unwrap()],
        public_key: [7; 32],
        addresses: vec!["10.0.0.1/32".parse().unwrap(), "fd00::1/128".parse().unwrap()],
        groups: vec!["239.1.2.3".parse().unwrap()],
        capabilities: Capabilities(5),
        version: "1.2.3".into(),
    }
}

/// The bytes others rely on.
#[test]
fn the_form_of_a_record_has_not_changed() {
    let record = draft().record(258, 257, vec![KeyId([1, 2, 3, 4])]).unwrap();

    let expected = [
        "01000000000000000102000000000000010107070707070707070707070707070707070707070707070707070707070707070000000500026e31",
        "000f68747470733a2f2f6e313a343536370005312e322e330104c000020111f802",
        "04200a0000010680fd000000000000000000000000000001",
        "0104ef01020301010203040000",
    ];
    let hex: String = record.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected.concat());
}

#[test]
fn fields_of_a_later_version_are_skipped() {
    let record = draft().record(2, 1, vec![]).unwrap();
    let mut encoded = record.encode();
    encoded.truncate(encoded.len() - 2);
    encoded.extend([0, 3, 9, 9, 9]);

    assert_eq!(Record::decode(&encoded), Ok(record));
}

#[test]
fn a_version_that_cannot_be_printed_or_is_too_long_is_no_record() {
    let encoded = |version: &str| Record { version: version.into(), ..draft().record(2, 1, vec![]).unwrap() }.encode();

    assert!(Record::decode(&encoded("0.1.0-rc.1 of May")).is_ok());
    for version in ["1\u{1b}[31m", "1\n", "1\u{9b}", "1\u{7f}", &"1".repeat(33)] {
        assert_eq!(Record::decode(&encoded(version)), Err(Malformed), "{version:?}");
    }
}

#[test]
fn a_network_is_no_address_of_a_member() {
    for network in ["10.1.0.0/16", "10.0.0.1/31", "fd00::/64", "0.0.0.0/0"] {
        let network: IpNet = network.parse().unwrap();
        let draft = RecordDraft { addresses: vec!["10.0.0.1/32".parse().unwrap(), network], ..draft() };
        assert_eq!(draft.record(1, 1, vec![]), Err(RecordError::AddressIsNetwork { network }));
    }

    let encoded = draft().record(2, 1, vec![]).unwrap().encode();
    let host = [4, 32, 10, 0, 0, 1];
    let at = encoded.windows(host.len()).position(|bytes| bytes == host).unwrap();
    for network in [&[4, 31, 10, 0, 0, 0][..], &[4, 24, 10, 0, 0], &[4, 0], &[6, 64, 253, 0, 0, 0, 0, 0, 0, 0]] {
        let altered = [&encoded[..at], network, &encoded[at + host.len()..]].concat();
        assert_eq!(Record::decode(&altered), Err(Malformed), "{network:?}");
    }
}

#[test]
fn a_field_that_is_too_long_is_named() {
    let too_long = [
        ("endpoints", RecordDraft { endpoints: vec!["192.0.2.1:1".parse().unwrap(); 9], ..draft() }),
        ("addresses", RecordDraft { addresses: vec!["10.0.0.1/32".parse().unwrap(); 65], ..draft() }),
        ("groups", RecordDraft { groups: vec!["239.0.0.1".parse().unwrap(); 65], ..draft() }),
        ("version", RecordDraft { version: "v".repeat(33), ..draft() }),
    ];
    for (name, draft) in too_long {
        let outcome = draft.record(1, 1, vec![]);
        assert!(
            matches!(outcome, Err(RecordError::FieldTooLong { field, .. }) if field == name),
            "{name}: {outcome:?}"
        );
    }
    let no_port = RecordDraft { endpoints: vec!["192.0.2.1:0".parse().unwrap()], ..draft() };
    assert!(matches!(no_port.record(1, 1, vec![]), Err(RecordError::EndpointWithoutPort { .. })));
}
