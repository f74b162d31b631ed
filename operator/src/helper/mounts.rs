use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tunmesh_sys::netns::Netns;

use super::readiness::watch;

/// Tells when a mount came or went: a network namespace has a name as long as it is mounted there.
pub(super) struct Mounts(AsyncFd<File>);

impl Mounts {
    /// Of the mount namespace of this process.
    pub(super) fn watch() -> io::Result<Self> {
        Ok(Self(watch(File::open("/proc/self/mountinfo")?, Interest::PRIORITY)?))
    }

    /// Done when the mounts changed since this was called last. Cancel safe.
    pub(super) async fn changed(&mut self) {
        // The kernel announces a change as priority data, once for each open file (proc_pid_mountinfo(5)).
        match self.0.ready(Interest::PRIORITY).await {
            Ok(mut guard) => guard.clear_ready(),
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The network namespaces that are mounted in `folder`, by their ids. A folder that does not exist has none.
pub(super) fn namespaces(folder: &Path) -> io::Result<BTreeMap<u64, Netns>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        // A file that is gone again, or about to become a mount, or no namespace at all.
        let Ok(Some(netns)) = Netns::mounted(&entry?.path()) else { continue };
        if let Ok(id) = netns.id() {
            found.insert(id, netns);
        }
    }
    Ok(found)
}
