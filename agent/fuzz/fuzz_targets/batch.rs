#![no_main]

use libfuzzer_sys::fuzz_target;
use tunmesh_protocol::Decoder;

fuzz_target!(|body: &[u8]| {
    let _refused = Decoder::default().decode_batch(body, |packet| {
        if let Ok(packet) = packet {
            assert!(!packet.data.is_empty() && packet.data.len() <= tunmesh_protocol::MAX_PACKET_LEN);
        }
    });
});
