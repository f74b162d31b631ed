use std::io::{self, IoSlice};
use std::sync::Arc;

use tunmesh_mesh::{DropReason, Inbound};
use tunmesh_packet::{Offload, SegmentKind, Segments, split};
use tunmesh_protocol::{Capsule, NodeId};

use crate::data::{Device, Relay, complete};
use crate::peers::Peer;
use crate::shared::{Forwarding, Shared};

/// Hands the packets of a peer's stream to the TUN device, or passes them on to a WireGuard device: those that may pass.
pub(super) struct Delivery<'a> {
    pub(super) device: &'a Device,
    pub(super) forwarding: Arc<Forwarding>,
    pub(super) peer: Arc<Peer>,
    pub(super) relay: &'a Relay,
    pub(super) shared: &'a Shared,
}

impl<'a> Delivery<'a> {
    /// For as long as routes and members are what they are; `None` if `peer` is no member any more.
    pub(super) fn new(shared: &'a Shared, device: &'a Device, relay: &'a Relay, peer: &NodeId) -> Option<Self> {
        let forwarding = shared.forwarding.borrow().clone();
        let peer = Arc::clone(forwarding.peers.get(peer)?);
        Some(Self { device, forwarding, peer, relay, shared })
    }

    /// Checks and writes what a capsule carries; whatever happens to it is counted.
    pub(super) fn capsule(&self, capsule: Capsule<'_>) {
        let (offload, packet) = match capsule {
            Capsule::Packet(packet) => (Offload::default(), packet),
            Capsule::Skipped => return,
            Capsule::SuperPacket { header, packet } => match Offload::parse(&header) {
                Ok(offload) => (offload, packet),
                Err(_) => return self.drop(DropReason::Malformed, 1),
            },
        };
        let Ok(header) = tunmesh_packet::parse(packet) else {
            return self.drop(DropReason::Malformed, 1);
        };
        let packet = &packet[..header.total_len()];
        let Ok(segments) = split(packet, &offload) else {
            return self.drop(DropReason::Malformed, 1);
        };
        let (count, bytes) = (segments.count(), segments.total_len());
        self.shared.counters.remote_rx.add_many(count, bytes);
        self.peer.counters.rx.add_many(count, bytes);
        match self.forwarding.routes.inbound(&self.peer.id, header.source(), header.destination()) {
            Ok(Inbound::Deliver) => {}
            Ok(Inbound::Forward(to)) => {
                return match self.forwarding.peers.get(to) {
                    Some(to) => self.relay.pass_on(&self.peer, to, complete(&segments)),
                    None => self.drop(DropReason::NoRoute, count),
                };
            }
            Err(reason) => return self.drop(reason, count),
        }
        match self.write(packet, &offload, &segments) {
            Ok(()) => self.shared.counters.tun_tx.add_many(count, bytes),
            Err(error) => {
                tracing::debug!(%error, len = packet.len(), "the device refused a packet");
                self.drop(DropReason::Exception, count);
            }
        }
    }

    /// Writes the packet with its header where the device takes it, else its segments.
    fn write(&self, packet: &[u8], offload: &Offload, segments: &Segments<'_>) -> io::Result<()> {
        let offloads = self.device.offloads();
        let is_udp = offload.segmentation.is_some_and(|segmentation| segmentation.kind == SegmentKind::Udp);
        if offloads.header && (offloads.udp || !is_udp) {
            let header = offload.encode();
            return self.device.queue(0).write_vectored(&[IoSlice::new(&header), IoSlice::new(packet)]).map(|_| ());
        }
        complete(segments).try_for_each(|segment| self.device.write(&segment))
    }

    fn drop(&self, reason: DropReason, count: usize) {
        tracing::trace!(peer = %self.peer.id, reason = reason.as_str(), "packet from a stream dropped");
        self.shared.counters.drops.add_many(reason, count);
        self.peer.counters.drops.add_many(reason, count);
    }
}
