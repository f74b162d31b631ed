mod table;

use std::time::Duration;

use super::print;
use crate::status::Status;

/// Prints what the node with this device says of itself.
pub(super) fn show(device: &str, json: bool, watch: bool) -> anyhow::Result<()> {
    let mut before: Option<Status> = None;
    loop {
        let status = Status::ask(device)?;
        if json {
            print(&format!("{}\n", serde_json::to_string(&status)?))?;
        } else {
            let clear = if watch { "\x1b[2J\x1b[H" } else { "" };
            print(&format!("{clear}{}", table::render(&status, before.as_ref())))?;
        }
        if !watch {
            return Ok(());
        }
        before = Some(status);
        std::thread::sleep(INTERVAL);
    }
}

/// Time between two prints of `--watch`.
const INTERVAL: Duration = Duration::from_secs(1);
