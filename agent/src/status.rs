//! What a node says of itself to `tunmesh status`: one JSON document per connection to an abstract unix socket.
//!
//! Abstract names belong to the network namespace, so the name needs no folder, leaves no file behind, and two nodes in
//! two namespaces do not meet. Nothing in it is secret; it is what `/health`, `/metrics` and `registrations` say, in one.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use crate::counters::{Drops, Traffic};
use crate::data::Device;
use crate::health::Health;
use crate::shared::Shared;

/// The bound socket, from before privileges were dropped.
pub(crate) type Listener = UnixListener;

/// Binds the socket of the node with this device.
pub(crate) fn bind(device: &str) -> io::Result<Listener> {
    let listener = UnixListener::bind_addr(&address(device)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers every connection, one after the other.
pub(crate) async fn serve(shared: Arc<Shared>, device: Arc<Device>, listener: Listener) -> io::Error {
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    loop {
        let mut stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => return error,
        };
        let Ok(status) = Status::of(&shared, &device).await else {
            continue;
        };
        let text = serde_json::to_vec(&status).expect("plain structs serialize");
        let _slow = tokio::time::timeout(WRITE_LIMIT, stream.write_all(&text)).await;
    }
}

fn address(device: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("tunmesh-status.{device}"))
}

/// A node at one moment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) node_id: String,
    pub(crate) version: String,
    pub(crate) uptime_secs: u64,
    pub(crate) device: String,
    pub(crate) mtu: u32,
    pub(crate) address: String,
    pub(crate) network: String,
    pub(crate) listen_url: String,
    pub(crate) healthy: bool,
    pub(crate) resident_bytes: u64,
    pub(crate) tun_rx: Flow,
    pub(crate) tun_tx: Flow,
    pub(crate) drops: BTreeMap<String, u64>,
    pub(crate) peers: Vec<PeerStatus>,
}

/// One peer at that moment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerStatus {
    pub(crate) node_id: String,
    pub(crate) address: String,
    pub(crate) listen_url: String,
    /// `v0`; further paths come with further data planes.
    pub(crate) path: String,
    pub(crate) near: bool,
    pub(crate) last_seen_secs: f64,
    /// Age of the session we sign with, if there is one.
    pub(crate) session_secs: Option<f64>,
    pub(crate) faults: u64,
    pub(crate) queued_packets: usize,
    /// Time to the answer of the last packet request, if there was one.
    pub(crate) answer_micros: Option<u64>,
    pub(crate) rx: Flow,
    pub(crate) tx: Flow,
    pub(crate) drops: BTreeMap<String, u64>,
}

/// Packets and bytes since the start.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
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
        serde_json::from_str(&text).context("the node's answer is not a status document")
    }

    async fn of(shared: &Shared, device: &Device) -> Result<Self, crate::requests::Stopped> {
        let report = shared.owner.report().await?;
        let live = shared.live.load_full();
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        let now = Instant::now();
        let forwarding = shared.forwarding.borrow().clone();
        let peers = report.members.iter().filter_map(|view| {
            let peer = forwarding.peers.get(&view.member.id)?;
            let answer = peer.counters.answer_micros.load(relaxed);
            Some(PeerStatus {
                node_id: peer.id.to_string(),
                address: view.member.address.to_string(),
                listen_url: view.member.listen_url.to_string(),
                path: "v0".into(),
                near: view.near,
                last_seen_secs: now.saturating_duration_since(view.last_seen).as_secs_f64(),
                session_secs: peer.outbound.load().as_ref().map(|session| session.opened_at.elapsed().as_secs_f64()),
                faults: peer.counters.faults.load(relaxed),
                queued_packets: peer.queue.len(),
                answer_micros: (answer > 0).then_some(answer),
                rx: Flow::from(&peer.counters.rx),
                tx: Flow::from(&peer.counters.tx),
                drops: by_reason(&peer.counters.drops),
            })
        });
        Ok(Self {
            node_id: shared.id.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_secs: shared.started_at.elapsed().as_secs(),
            device: device.name().into(),
            mtu: device.mtu(),
            address: live.config.networking.ipv4.node_address_cidr.to_string(),
            network: live.config.networking.ipv4.network_cidr.to_string(),
            listen_url: live.config.clustering.control_api_advertise_url.to_string(),
            healthy: Health::of(&report, device.is_up()).is_healthy(),
            resident_bytes: tunmesh_sys::resident::rss_bytes().unwrap_or(0),
            tun_rx: Flow::from(&shared.counters.tun_rx),
            tun_tx: Flow::from(&shared.counters.tun_tx),
            drops: by_reason(&shared.counters.drops),
            peers: peers.collect(),
        })
    }
}

impl From<&Traffic> for Flow {
    fn from(traffic: &Traffic) -> Self {
        Self { packets: traffic.packets(), bytes: traffic.bytes() }
    }
}

fn by_reason(drops: &Drops) -> BTreeMap<String, u64> {
    drops.iter().map(|(reason, count)| (reason.as_str().to_owned(), count)).collect()
}

/// Wait for the node's answer.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Enough for a local reader; a slow one must not keep others waiting.
const WRITE_LIMIT: Duration = Duration::from_secs(1);
