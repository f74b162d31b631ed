#![no_main]

use libfuzzer_sys::fuzz_target;
use tunmesh_protocol::Registration;

fuzz_target!(|body: &[u8]| {
    if let Ok(registration) = Registration::parse(body) {
        let again = Registration::parse(&registration.to_json()).unwrap();
        assert_eq!(
            (&again.local, &again.remote, again.stamp),
            (&registration.local, &registration.remote, registration.stamp)
        );
    }
});
