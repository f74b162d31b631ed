use std::sync::Arc;

use tunmesh_mesh::{DropReason, Inbound};
use tunmesh_protocol::{PacketError, PacketRef};

use crate::data::{Device, Relay};
use crate::peers::Peer;
use crate::shared::{Forwarding, Shared};

/// Hands packets of one peer to the TUN device, or passes them on to a WireGuard device: those that may pass.
pub(crate) struct Delivery<'a> {
    pub(crate) device: &'a Device,
    pub(crate) forwarding: &'a Forwarding,
    pub(crate) peer: &'a Arc<Peer>,
    pub(crate) relay: &'a Relay,
    pub(crate) shared: &'a Shared,
}

impl Delivery<'_> {
    /// Checks and writes one packet; whatever happens to it is counted.
    pub(crate) fn packet(&self, packet: &PacketRef<'_>) {
        self.shared.counters.remote_rx.add(packet.data.len());
        self.peer.counters.rx.add(packet.data.len());
        let (header, verdict) = match self.forwarding.routes.inbound_v0(&self.peer.id, packet.ethertype, packet.data) {
            Ok(judged) => judged,
            Err(reason) => return self.drop(reason),
        };
        let data = &packet.data[..header.total_len()];
        if let Inbound::Forward(to) = verdict {
            return match self.forwarding.peers.get(to) {
                Some(to) => self.relay.pass_on(self.peer, to, std::iter::once(data)),
                None => self.drop(DropReason::NoRoute),
            };
        }
        if let Err(error) = self.device.write(data) {
            tracing::debug!(%error, len = data.len(), "the device refused a packet");
            return self.drop(DropReason::Exception);
        }
        self.shared.counters.tun_tx.add(data.len());
        if self.shared.live.load().config.monitoring.enable_node_packet_metrics {
            self.peer.counters.latency.observe(packet.stamp.age(self.shared.clock.wall()));
        }
    }

    /// Counts what could not be decoded.
    pub(crate) fn undecodable(&self, error: &PacketError) {
        tracing::debug!(peer = %self.peer.id, %error, "undecodable packet");
        self.drop(DropReason::Malformed);
    }

    fn drop(&self, reason: DropReason) {
        tracing::trace!(peer = %self.peer.id, reason = reason.as_str(), "packet from a peer dropped");
        self.shared.counters.drops.add(reason);
        self.peer.counters.drops.add(reason);
    }
}
