use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::incidents::RefusalKind;

/// A node at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) node_id: String,
    pub(crate) version: String,
    pub(crate) uptime_secs: u64,
    pub(crate) device: String,
    pub(crate) mtu: u32,
    pub(crate) address: String,
    pub(crate) network: String,
    /// IPv6 address with the prefix length of the mesh network, if the node has one.
    pub(crate) address_ipv6: Option<String>,
    pub(crate) listen_url: String,
    pub(crate) healthy: bool,
    /// Whether it is in the mesh, or alone in it as far as it can know.
    pub(crate) ready: bool,
    pub(crate) resident_bytes: u64,
    pub(crate) packet_threads: usize,
    pub(crate) offloads: OffloadStatus,
    /// `None` if the node takes no datagrams.
    pub(crate) datagrams: Option<DatagramStatus>,
    pub(crate) gossip: Option<GossipStatus>,
    pub(crate) tun_rx: Flow,
    pub(crate) tun_tx: Flow,
    pub(crate) drops: BTreeMap<String, u64>,
    /// What nodes refused each other since the start.
    pub(crate) refusals: Vec<RefusalStatus>,
    /// Addresses that two nodes claim.
    pub(crate) contests: Vec<ContestStatus>,
    pub(crate) peers: Vec<PeerStatus>,
    /// WireGuard devices that are members through this node.
    pub(crate) devices: Vec<DeviceStatus>,
}

/// What the kernel and the agent leave undone for each other at the TUN device; without, packets pass one by one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct OffloadStatus {
    pub(crate) header: bool,
    pub(crate) tcp: bool,
    pub(crate) udp: bool,
}

/// The UDP side of the data plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DatagramStatus {
    pub(crate) port: u16,
    /// Where others are told to send datagrams to.
    pub(crate) endpoints: Vec<String>,
    /// Datagrams that one system call sends and receives at most; 1 where the kernel moves them one by one.
    pub(crate) segments_sent: usize,
    pub(crate) segments_received: usize,
}

/// The gossip: members, and counts since the start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct GossipStatus {
    pub(crate) members: usize,
    pub(crate) suspects: usize,
    pub(crate) datagrams_received: u64,
    pub(crate) datagrams_sent: u64,
    pub(crate) datagrams_refused: u64,
    pub(crate) records_accepted: u64,
    pub(crate) records_refused: u64,
    pub(crate) probes: u64,
    pub(crate) probes_failed: u64,
}

/// One kind of refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RefusalStatus {
    pub(crate) kind: RefusalKind,
    pub(crate) count: u64,
    /// Time since the last one.
    pub(crate) last_secs: f64,
    /// Who was refused then, or by whom we were.
    pub(crate) subject: String,
}

/// Two nodes that claim one address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContestStatus {
    pub(crate) address: String,
    /// Who gets its packets.
    pub(crate) holder: String,
    pub(crate) claimant: String,
    /// Time since the claim was refused; 0 while both are in the gossip.
    pub(crate) last_secs: f64,
}

/// One peer at that moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PeerStatus {
    pub(crate) node_id: String,
    pub(crate) address: String,
    pub(crate) listen_url: String,
    /// How packets reach it: `udp`, `stream`, `v0`, or `none` until the first packet asks for a way.
    pub(crate) path: String,
    /// Whether both ends take datagrams, be it that none get through now.
    pub(crate) takes_datagrams: bool,
    /// Cipher of the session we seal with: `aegis` or `chachapoly`.
    pub(crate) suite: Option<String>,
    /// Age of the last handshake.
    pub(crate) handshake_secs: Option<f64>,
    /// Smoothed round trip of pings.
    pub(crate) round_trip_micros: Option<u64>,
    pub(crate) pings: u64,
    pub(crate) pongs: u64,
    /// Pings without an answer, of those whose answer is not awaited any more.
    pub(crate) loss_percent: Option<f64>,
    /// Largest packet known to fit a datagram, in bytes.
    pub(crate) largest_packet: usize,
    /// Where datagrams to it go.
    pub(crate) endpoint: Option<String>,
    /// `alive` or `suspect` while the gossip vouches for it; else only v0 registrations do.
    pub(crate) gossip: Option<String>,
    /// Version of its software; nodes of the original do not tell.
    pub(crate) version: Option<String>,
    /// Its clock minus ours at its last registration.
    pub(crate) clock_offset_secs: Option<i64>,
    pub(crate) near: bool,
    pub(crate) last_seen_secs: f64,
    /// Age of the session we sign with, if there is one.
    pub(crate) session_secs: Option<f64>,
    pub(crate) faults: u64,
    pub(crate) queued_packets: usize,
    /// Time to the answer of the last packet request, if there was one.
    pub(crate) answer_micros: Option<u64>,
    /// Whether it takes requests in a row, as only nodes of our kind do.
    pub(crate) pipelining: bool,
    pub(crate) rx: Flow,
    pub(crate) tx: Flow,
    pub(crate) drops: BTreeMap<String, u64>,
}

/// One WireGuard device at that moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeviceStatus {
    /// What the file calls it.
    pub(crate) name: String,
    /// Its addresses in the mesh, IPv4 first.
    pub(crate) addresses: Vec<String>,
    /// Whether there is a session in which packets go to it.
    pub(crate) connected: bool,
    /// Where it was last heard from.
    pub(crate) endpoint: Option<String>,
    /// Age of the last handshake.
    pub(crate) handshake_secs: Option<f64>,
    pub(crate) rx: Flow,
    pub(crate) tx: Flow,
    pub(crate) drops: BTreeMap<String, u64>,
}

/// Packets and bytes since the start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}
