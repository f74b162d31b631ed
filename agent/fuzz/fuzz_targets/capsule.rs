#![no_main]

use libfuzzer_sys::fuzz_target;
use tunmesh_protocol::{Capsule, MAX_CAPSULE_LEN};

fuzz_target!(|stream: &[u8]| {
    let mut rest = stream;
    while let Ok(Some((capsule, len))) = Capsule::decode(rest) {
        assert!(len >= 2 && len <= rest.len());
        // Before its last byte came, a reader waits.
        assert_eq!(Capsule::decode(&rest[..len - 1]), Ok(None));
        if capsule != Capsule::Skipped {
            let mut again = Vec::new();
            capsule.encode(&mut again);
            assert_eq!(Capsule::decode(&again), Ok(Some((capsule, again.len()))));
        }
        rest = &rest[len..];
    }
    if Capsule::decode(rest) == Ok(None) {
        assert!(rest.len() < MAX_CAPSULE_LEN, "a reader waits for more than it has room for");
    }
});
