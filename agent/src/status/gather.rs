use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tunmesh_membership::Health as GossipHealth;
use tunmesh_mesh::Quality;
use tunmesh_protocol::config::Networking;
use tunmesh_session::Suite;

use super::document::{
    ContestStatus, DatagramStatus, DeviceStatus, Flow, GossipStatus, OffloadStatus, PeerStatus, RefusalStatus, Status,
};
use crate::counters::{Drops, Traffic};
use crate::data::{Device, Socket};
use crate::health::{self, Health};
use crate::peers::Peer;
use crate::requests::{DeviceReport, GossipReport, KnownMember, PathReport, Report, Stopped};
use crate::shared::Shared;
use crate::wireguard;

impl Status {
    /// This node now.
    pub(super) async fn of(shared: &Shared, device: &Device, socket: Option<&Socket>) -> Result<Self, Stopped> {
        let report = shared.owner.report().await?;
        let live = shared.live.load_full();
        let networking = &live.config.networking;
        let now = Instant::now();
        let forwarding = shared.forwarding.borrow().clone();
        let peers = report.members.iter().filter_map(|known| {
            Some(PeerStatus::of(forwarding.peers.get(&known.member.id)?, known, known.path.as_ref()?, now))
        });
        let offloads = device.offloads();
        Ok(Self {
            node_id: shared.id.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_secs: shared.started_at.elapsed().as_secs(),
            device: device.name().into(),
            mtu: device.mtu(),
            address: networking.ipv4.node_address_cidr.to_string(),
            network: networking.ipv4.network_cidr.to_string(),
            address_ipv6: networking.ipv6.map(|ipv6| format!("{}/{}", ipv6.address, ipv6.network.prefix_len())),
            listen_url: live.config.clustering.control_api_advertise_url.to_string(),
            healthy: Health::of(&report, device.is_up()).is_healthy(),
            ready: health::is_ready(&report, device.is_up()),
            resident_bytes: tunmesh_sys::resident::rss_bytes().unwrap_or(0),
            packet_threads: device.queue_count(),
            offloads: OffloadStatus { header: offloads.header, tcp: offloads.tcp, udp: offloads.udp },
            datagrams: socket.map(|socket| DatagramStatus {
                port: socket.port().unwrap_or(0),
                endpoints: shared.endpoints.iter().map(ToString::to_string).collect(),
                segments_sent: socket.max_segments(),
                segments_received: socket.max_joined(),
            }),
            gossip: report.gossip.as_ref().map(GossipStatus::from),
            tun_rx: Flow::from(&shared.counters.tun_rx),
            tun_tx: Flow::from(&shared.counters.tun_tx),
            drops: by_reason(&shared.counters.drops),
            refusals: refusals(shared, now),
            contests: contests(shared, &report, now),
            peers: peers.collect(),
            devices: report.devices.iter().map(|device| DeviceStatus::of(device, networking, now)).collect(),
        })
    }
}

impl PeerStatus {
    fn of(peer: &Peer, known: &KnownMember, path: &PathReport, now: Instant) -> Self {
        let answer = peer.counters.answer_micros.load(Relaxed);
        let age = |since: Instant| now.saturating_duration_since(since).as_secs_f64();
        let Quality { round_trip, pings, pongs } = path.quality;
        Self {
            node_id: peer.id.to_string(),
            address: known.member.address.to_string(),
            listen_url: known.member.listen_url.to_string(),
            path: path.way.as_str().into(),
            takes_datagrams: path.takes_datagrams,
            suite: path.suite.map(|suite| suite_name(suite).into()),
            handshake_secs: path.last_handshake.map(age),
            round_trip_micros: round_trip.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            pings,
            pongs,
            loss_percent: loss_percent(pings, pongs),
            largest_packet: path.largest,
            endpoint: path.endpoint.map(|endpoint| endpoint.to_string()),
            gossip: path.gossip.map(|health| gossip_name(health).into()),
            version: path.version.clone(),
            clock_offset_secs: path.clock_offset_secs,
            near: known.near,
            last_seen_secs: age(known.last_seen),
            session_secs: peer.outbound.load().as_ref().map(|session| age(session.opened_at)),
            faults: peer.counters.faults.load(Relaxed),
            queued_packets: peer.queued_packets(),
            answer_micros: (answer > 0).then_some(answer),
            pipelining: peer.takes_pipelining.load(Relaxed),
            rx: Flow::from(&peer.counters.rx),
            tx: Flow::from(&peer.counters.tx),
            drops: by_reason(&peer.counters.drops),
        }
    }
}

impl DeviceStatus {
    fn of(device: &DeviceReport, networking: &Networking, now: Instant) -> Self {
        let DeviceReport { peer, last_handshake } = device;
        let age = |since: Instant| now.saturating_duration_since(since).as_secs_f64();
        Self {
            name: peer.name.clone().unwrap_or_default(),
            addresses: wireguard::addresses(networking, peer.address()).iter().map(ToString::to_string).collect(),
            connected: peer.link.session().is_some(),
            endpoint: peer.link.endpoint().map(|endpoint| endpoint.to_string()),
            handshake_secs: last_handshake.map(age),
            rx: Flow::from(&peer.counters.rx),
            tx: Flow::from(&peer.counters.tx),
            drops: by_reason(&peer.counters.drops),
        }
    }
}

fn suite_name(suite: Suite) -> &'static str {
    match suite {
        Suite::Aegis => "aegis",
        Suite::ChaChaPoly => "chachapoly",
    }
}

fn gossip_name(health: GossipHealth) -> &'static str {
    match health {
        GossipHealth::Alive => "alive",
        GossipHealth::Suspect => "suspect",
    }
}

/// Share of pings without an answer. The last ping may still be answered, so it counts only once it is.
fn loss_percent(pings: u64, pongs: u64) -> Option<f64> {
    let settled = if pings > pongs { pings - 1 } else { pings };
    (settled > 0).then(|| settled.saturating_sub(pongs) as f64 * 100.0 / settled as f64)
}

fn refusals(shared: &Shared, now: Instant) -> Vec<RefusalStatus> {
    let found = shared.incidents.refusals().into_iter();
    found
        .map(|(kind, tally)| RefusalStatus {
            kind,
            count: tally.count,
            last_secs: now.saturating_duration_since(tally.last_at).as_secs_f64(),
            subject: tally.subject,
        })
        .collect()
}

fn contests(shared: &Shared, report: &Report, now: Instant) -> Vec<ContestStatus> {
    let in_gossip = report.contests.iter().map(|contest| ContestStatus {
        address: contest.address.clone(),
        holder: contest.holder.to_string(),
        claimant: contest.claimant.to_string(),
        last_secs: 0.0,
    });
    let refused = shared.incidents.claims().into_iter().map(|claim| ContestStatus {
        address: claim.address,
        holder: claim.holder.to_string(),
        claimant: claim.claimant.to_string(),
        last_secs: now.saturating_duration_since(claim.last_at).as_secs_f64(),
    });
    in_gossip.chain(refused).collect()
}

impl From<&GossipReport> for GossipStatus {
    fn from(report: &GossipReport) -> Self {
        let counters = &report.counters;
        Self {
            members: report.members,
            suspects: report.suspects,
            datagrams_received: counters.datagrams_received,
            datagrams_sent: counters.datagrams_sent,
            datagrams_refused: counters.datagrams_refused,
            records_accepted: counters.records_accepted,
            records_refused: counters.records_refused,
            probes: counters.probes,
            probes_failed: counters.probes_failed,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_whose_answer_is_awaited_is_not_lost() {
        let cases = [((0, 0), None), ((1, 0), None), ((1, 1), Some(0.0)), ((5, 4), Some(0.0)), ((5, 3), Some(25.0))];
        for ((pings, pongs), expected) in cases {
            assert_eq!(loss_percent(pings, pongs), expected, "{pings} pings, {pongs} pongs");
        }
    }
}
