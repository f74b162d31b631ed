#![no_main]

use libfuzzer_sys::fuzz_target;
use tunmesh_protocol::NodeInfo;

fuzz_target!(|body: &[u8]| {
    if let Ok(info) = NodeInfo::parse(body) {
        assert_eq!(NodeInfo::parse(&info.to_json()).unwrap(), info);
    }
});
