#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tunmesh_protocol::config;

fuzz_target!(|text: &str| {
    let mut options = config::ParseOptions { base_dir: Path::new("/nonexistent"), random: &mut || 0.5 };
    if let Err(problems) = config::parse(text, &mut options) {
        assert!(!problems.0.is_empty());
        let _text = problems.to_string();
    }
});
