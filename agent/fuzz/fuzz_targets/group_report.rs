#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let reports = tunmesh_packet::group_reports(packet);
    assert!(reports.iter().all(|report| report.group.is_multicast()));
    // The shortest record is 8 bytes long.
    assert!(reports.len() <= packet.len() / 8);
});
