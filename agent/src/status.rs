//! What a node says of itself to `tunmesh status` and `tunmesh check`: one JSON document per connection to an abstract
//! unix socket.
//!
//! Abstract names belong to the network namespace, so the name needs no folder, leaves no file behind, and two nodes in
//! two namespaces do not meet. Nothing in it is secret; it is what `/health`, `/metrics` and `registrations` say, in one.

mod document;
mod gather;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::AsyncWriteExt;

#[cfg(test)]
pub(crate) use self::document::ContestStatus;
pub(crate) use self::document::{DatagramStatus, DeviceStatus, Flow, OffloadStatus, PeerStatus, RefusalStatus, Status};
use crate::data::{Device, Socket};
use crate::shared::Shared;

/// The bound socket, from before privileges were dropped.
pub(crate) type Listener = UnixListener;

/// Binds the socket of the node with this device.
pub(crate) fn bind(device: &str) -> io::Result<Listener> {
    let listener = UnixListener::bind_addr(&address(device)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers every connection, one after the other; returns only if it cannot begin. `sockets` are those of the data plane, if
/// there are any.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    device: Arc<Device>,
    sockets: Vec<Arc<Socket>>,
    listener: Listener,
) -> io::Error {
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    loop {
        let mut stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Mostly no descriptors left, which is no reason to stop.
                tracing::warn!(%error, "failed to accept a connection to the status socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(status) = Status::of(&shared, &device, sockets.first().map(Arc::as_ref)).await else {
            continue;
        };
        let text = serde_json::to_vec(&status).expect("plain structs serialize");
        let _slow = tokio::time::timeout(WRITE_LIMIT, stream.write_all(&text)).await;
    }
}

fn address(device: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("{PREFIX}{device}"))
}

/// Devices of the nodes in the network namespace of the calling thread, by the names of their sockets.
pub(crate) fn devices() -> io::Result<BTreeSet<String>> {
    Ok(listed(&std::fs::read_to_string("/proc/net/unix")?))
}

/// A socket is a line, and the name its last word; an abstract one begins with `@`. Each connection is a line too.
fn listed(sockets: &str) -> BTreeSet<String> {
    let name = |line: &str| Some(line.split(' ').next_back()?.strip_prefix('@')?.strip_prefix(PREFIX)?.to_owned());
    sockets.lines().filter_map(name).collect()
}

impl Status {
    /// Asks the node with this device in the network namespace of the calling thread.
    pub(crate) fn ask(device: &str) -> anyhow::Result<Self> {
        let mut stream = UnixStream::connect_addr(&address(device)?).with_context(|| {
            format!(
                "no node with device {device} answers in this network namespace; \
                 name its device with --device, or enter its namespace first (nsenter -n -t PID)"
            )
        })?;
        stream.set_read_timeout(Some(READ_LIMIT))?;
        let mut text = String::new();
        stream.read_to_string(&mut text).context("the node did not finish its answer")?;
        serde_json::from_str(&text).context("the node's answer is not a status document of this version")
    }
}

const PREFIX: &str = "tunmesh-status.";

/// Wait for the node's answer.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Pause after a failed accept, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Enough for a local reader; a slow one must not keep others waiting.
const WRITE_LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_by_their_sockets() {
        let sockets = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 1 /run/tunmesh-status.other\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 2 @tunmesh-status.tun7\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 3 @tunmesh-status.tun7\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 4\n";

        assert_eq!(listed(sockets), BTreeSet::from(["tun7".to_owned()]));
    }
}
