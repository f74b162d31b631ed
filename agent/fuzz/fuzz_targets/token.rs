#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tunmesh_protocol::{Secret, Token, UnixTime, verify};

fuzz_target!(|header: &[u8]| {
    let token = Token::cluster(&Secret::from_bytes(b"a secret nobody guesses in a fuzzer".to_vec()));
    let now = UnixTime::new(Duration::from_secs(1_795_177_342));
    assert!(verify(header, &[&token], &"fuzz".parse().unwrap(), now).is_err(), "a forged token was accepted");
});
