#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use tunmesh_packet::{Checksum, is_checksum_valid, parse, too_big};

fuzz_target!(|input: (u32, &[u8])| {
    let (mtu, packet) = input;
    let Some(answer) = too_big(packet, mtu) else {
        return;
    };
    let asked = parse(packet).expect("only packets are answered");
    let header = parse(&answer).expect("an answer is a packet");
    assert_eq!((header.source(), header.destination()), (asked.destination(), asked.source()));
    assert_eq!(header.total_len(), answer.len());
    let (headers, message) = answer.split_at(header.header_len());
    match header.source() {
        IpAddr::V4(_) => {
            assert!(is_checksum_valid(headers) && is_checksum_valid(message));
            assert!(answer.len() <= 576);
        }
        IpAddr::V6(_) => {
            let [high, low] = u16::try_from(message.len()).unwrap().to_be_bytes();
            let pseudo_header = Checksum::new().with(&headers[8..40]).with(&[0, 0, high, low, 0, 0, 0, 58]);
            assert_eq!(pseudo_header.with(message).finish(), 0);
            assert!(answer.len() <= 1280);
        }
    }
    assert_eq!(too_big(&answer, mtu), None, "an answer was answered");
});
