#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = tunmesh_packet::parse(bytes) {
        assert!(header.header_len() <= header.total_len() && header.total_len() <= bytes.len());
        assert_eq!(tunmesh_packet::parse(header.trim(bytes)), Ok(header));
    }
});
