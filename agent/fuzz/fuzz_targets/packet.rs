#![no_main]

use libfuzzer_sys::fuzz_target;
use tunmesh_protocol::{Decoder, Encoder};

fuzz_target!(|body: &[u8]| {
    let mut decoder = Decoder::default();
    let Ok(packet) = decoder.decode_single(body) else {
        return;
    };
    // What was read can be written and read again.
    let mut again = Vec::new();
    Encoder::new(&"fuzz".parse().unwrap()).encode_single(packet.ethertype, packet.data, packet.stamp, &mut again);
    let mut second = Decoder::default();
    let reread = second.decode_single(&again).unwrap();
    assert_eq!((reread.ethertype, reread.stamp, reread.data), (packet.ethertype, packet.stamp, packet.data));
});
