#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _refused = tunmesh_protocol::answer_session(body, "fuzz", &[7; 64]);
});
