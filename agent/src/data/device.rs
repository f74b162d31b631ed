use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use tokio::io::unix::AsyncFd;
use tunmesh_mesh::{DropReason, Outbound};
use tunmesh_packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use tunmesh_protocol::Stamp;
use tunmesh_sys::tun::Tun;

use super::queue::QueuedPacket;
use crate::peers::Peer;
use crate::shared::{Forwarding, Shared};

/// The TUN device as the runtime waits for it.
pub(crate) struct Device(AsyncFd<Tun>);

impl Device {
    /// Registers the device with the running runtime.
    #[expect(
        deprecated,
        reason = "its unsafe successor asks that the descriptor stays open and the same, which a Tun guarantees"
    )]
    pub(crate) fn new(tun: Tun) -> io::Result<Self> {
        AsyncFd::new(tun).map(Self)
    }

    /// Writes one packet; the kernel takes it whole or not at all, and never blocks.
    pub(crate) fn write(&self, packet: &[u8]) -> io::Result<()> {
        self.0.get_ref().write(packet).map(|_| ())
    }

    /// Interface name.
    pub(crate) fn name(&self) -> &str {
        self.0.get_ref().name()
    }

    /// Whether the interface is up.
    pub(crate) fn is_up(&self) -> bool {
        self.0.get_ref().is_up()
    }

    /// Largest packet, in bytes.
    pub(crate) fn mtu(&self) -> u32 {
        self.0.get_ref().mtu()
    }
}

/// Reads packets and queues them for their peers until the device is gone.
///
/// Reading stops while a queue is full (see [`super::Queue`]), so the kernel's queue and the sockets behind it are the
/// only buffer under load.
pub(crate) async fn forward(shared: Arc<Shared>, device: Arc<Device>) -> io::Error {
    // Packets are cut off the front of a chunk they share, so that a queued packet holds little more than itself.
    let longest = usize::try_from(device.mtu()).unwrap_or(MAX_PACKET).min(MAX_PACKET);
    let mut chunk = BytesMut::new();
    loop {
        let mut ready = match device.0.readable().await {
            Ok(ready) => ready,
            Err(error) => return error,
        };
        let forwarding = shared.forwarding.borrow().clone();
        for _ in 0..READS_PER_SNAPSHOT {
            if chunk.len() < longest {
                chunk = BytesMut::zeroed(CHUNK_LEN.max(longest));
            }
            match device.0.get_ref().read(&mut chunk) {
                Ok(len) => {
                    let packet = chunk.split_to(len);
                    send(&shared, &forwarding, packet).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error,
            }
        }
    }
}

async fn send(shared: &Shared, forwarding: &Forwarding, packet: BytesMut) {
    shared.counters.tun_rx.add(packet.len());
    let Ok(header) = tunmesh_packet::parse(&packet) else {
        return shared.counters.drops.add(DropReason::Malformed);
    };
    let ethertype = if header.ipv4().is_some() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    let queued = QueuedPacket {
        data: packet.freeze(),
        ethertype,
        read_at: Instant::now(),
        stamp: Stamp::at(shared.clock.wall()),
    };
    match forwarding.routes.outbound(&header) {
        Ok(Outbound::Unicast(id)) => queue_for(shared, forwarding.peers.get(id), queued).await,
        Ok(Outbound::Broadcast(ids)) => {
            for id in ids {
                let copy = QueuedPacket { data: queued.data.clone(), ..queued };
                queue_for(shared, forwarding.peers.get(id), copy).await;
            }
        }
        Err(reason) => {
            tracing::trace!(reason = reason.as_str(), "packet from the device dropped");
            shared.counters.drops.add(reason);
        }
    }
}

async fn queue_for(shared: &Shared, peer: Option<&Arc<Peer>>, packet: QueuedPacket) {
    let Some(peer) = peer else {
        return shared.counters.drops.add(DropReason::NoRoute);
    };
    if peer.queue.push(packet).await.is_err() {
        shared.counters.drops.add(DropReason::QueueFull);
        peer.counters.drops.add(DropReason::QueueFull);
    }
}

/// Bytes allocated at once for packets.
const CHUNK_LEN: usize = 64 << 10;

/// Longest IP packet; the device never hands out more without offloads.
const MAX_PACKET: usize = 65_535;

/// Packets read before routes are looked at anew.
const READS_PER_SNAPSHOT: usize = 64;
