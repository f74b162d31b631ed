use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::status::{self, Status};

/// Waits at most `limit` until the node is ready.
pub(super) fn wait(device: Option<&str>, limit: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let asked = ask(device);
        match &asked {
            Ok(true) => return Ok(()),
            Ok(false) | Err(_) if Instant::now() < deadline => std::thread::sleep(INTERVAL),
            Ok(false) => bail!("the node is not ready: its device is down, or it still looks for members"),
            Err(_) => return asked.map(drop),
        }
    }
}

fn ask(device: Option<&str>) -> anyhow::Result<bool> {
    let found = match device {
        Some(device) => device.to_owned(),
        None => only_device()?,
    };
    Ok(Status::ask(&found)?.ready)
}

fn only_device() -> anyhow::Result<String> {
    let mut devices = status::devices().context("failed to look for nodes in /proc/net/unix")?;
    match (devices.pop_first(), devices.pop_first()) {
        (Some(device), None) => Ok(device),
        (None, _) => bail!("no node runs in this network namespace yet"),
        (Some(_), Some(_)) => bail!("several nodes run in this network namespace; choose one with --device"),
    }
}

/// Between two looks: an application waits for this.
const INTERVAL: Duration = Duration::from_millis(20);
