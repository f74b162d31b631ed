use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::notice::Notices;
use super::transmit::Transmitter;
use super::{Device, Socket};
use crate::peers::Peer;
use crate::shared::Shared;

/// Passes on what came in a stream or in a request and is for a WireGuard device of this node: the sending half of a packet
/// thread without the thread.
pub(crate) struct Relay(Mutex<Transmitter>);

impl Relay {
    pub(crate) fn new(shared: Arc<Shared>, device: Arc<Device>, notices: Notices, socket: Option<Arc<Socket>>) -> Self {
        Self(Mutex::new(Transmitter::new(shared, device, notices, 0, socket)))
    }

    /// Passes complete packets that `from` sent on to `to`.
    pub(crate) fn pass_on(&self, from: &Arc<Peer>, to: &Arc<Peer>, packets: impl Iterator<Item = impl AsRef<[u8]>>) {
        let now = Instant::now();
        let mut transmitter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in packets {
            transmitter.pass_on(from, to, packet.as_ref(), now);
        }
        transmitter.flush();
    }
}
