//! The Prometheus exposition: the original's names and types, then ours, prefixed `tunmesh_`.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use tunmesh_protocol::config::METRIC_LABELS;

use crate::counters;
use crate::peers::Peer;
use crate::requests::Stopped;
use crate::shared::Shared;

/// Everything as text, version 0.0.4.
pub(crate) async fn scrape(shared: &Shared) -> Result<Vec<u8>, Stopped> {
    let report = shared.owner.report().await?;
    let live = shared.live.load_full();
    let monitoring = &live.config.monitoring;
    let mut base = vec![label("node_id", shared.id.as_str())];
    base.extend(monitoring.prometheus.base_labels.iter().map(|(name, value)| label(name, value)));
    let mut page = Page { base, families: Vec::new() };

    page.totals(shared);
    let peers: Vec<_> = shared.forwarding.borrow().peers.values().cloned().collect();
    if monitoring.enable_node_packet_metrics {
        page.per_node(&peers);
    }
    let gauge = MetricType::GAUGE;
    page.family("tunmesh_members", "Members known", gauge, [(vec![], report.members.len() as f64)]);
    page.family(
        "tunmesh_resident_memory_bytes",
        "Resident memory of the agent",
        gauge,
        [(vec![], tunmesh_sys::resident::rss_bytes().unwrap_or(0) as f64)],
    );
    let version = vec![label("version", env!("CARGO_PKG_VERSION"))];
    page.family("tunmesh_build_info", "Version of the agent", gauge, [(version, 1.0)]);
    let refusals = shared.incidents.refusals();
    page.family(
        "tunmesh_refusals_total",
        "Requests, gossip and handshakes that nodes refused each other",
        MetricType::COUNTER,
        refusals.iter().map(|(kind, tally)| (vec![label("reason", kind.as_str())], tally.count as f64)),
    );
    let per_peer =
        |value: fn(&Peer) -> f64| peers.iter().map(move |peer| (vec![label("peer", peer.id.as_str())], value(peer)));
    page.family(
        "tunmesh_peer_queue_packets",
        "Packets waiting for a peer, in the queue of its lane or its stream",
        gauge,
        per_peer(|peer| peer.queued_packets() as f64),
    );
    page.family(
        "tunmesh_peer_requests_total",
        "Packet requests sent to a peer",
        MetricType::COUNTER,
        per_peer(|peer| load(&peer.counters.requests)),
    );
    page.family(
        "tunmesh_peer_faults_total",
        "Packet requests a peer did not answer or refused",
        MetricType::COUNTER,
        per_peer(|peer| load(&peer.counters.faults)),
    );
    page.family(
        "tunmesh_peer_answer_seconds",
        "Time to the answer of the last packet request",
        gauge,
        per_peer(|peer| load(&peer.counters.answer_micros) / 1e6),
    );

    let mut text = Vec::new();
    TextEncoder::new().encode(&page.families, &mut text).expect("every family has metrics and a vector takes all");
    Ok(text)
}

struct Page {
    base: Vec<LabelPair>,
    families: Vec<MetricFamily>,
}

impl Page {
    fn totals(&mut self, shared: &Shared) {
        let gauge = MetricType::GAUGE;
        let counters = &shared.counters;
        let started = shared.clock.wall().as_secs_f64() - shared.started_at.elapsed().as_secs_f64();
        self.family("start_stamp", "TunMesh: Start Stamp", gauge, [(vec![], started.floor())]);
        let drops = counters.drops.iter().map(|(reason, n)| (vec![label("reason", reason.as_str())], n as f64));
        self.family("dropped_packets", "TunMesh: Dropped packets", gauge, drops);
        for (name, what, traffic) in [
            ("remote_tx", "sent to other nodes", &counters.remote_tx),
            ("tun_tx", "sent to the tun device", &counters.tun_tx),
            ("remote_rx", "received from other nodes", &counters.remote_rx),
            ("tun_rx", "received from the tun device", &counters.tun_rx),
        ] {
            self.family(
                &format!("{name}_packets"),
                &format!("TunMesh: packets {what}"),
                gauge,
                [(vec![], traffic.packets() as f64)],
            );
            self.family(
                &format!("{name}_bytes"),
                &format!("TunMesh: bytes {what}"),
                gauge,
                [(vec![], traffic.bytes() as f64)],
            );
        }
    }

    /// Per-node figures; a member's go when it leaves, which is what `metric_ttl` is for in the original.
    fn per_node(&mut self, peers: &[std::sync::Arc<Peer>]) {
        type Figure = fn(&Peer) -> u64;
        let figures: [(&str, &str, &str, Figure); 4] = [
            (
                "remote_rx_packets_by_source_node",
                "packets received from other nodes by source node",
                "source_node_id",
                |p| p.counters.rx.packets(),
            ),
            ("remote_tx_packets_by_dest_node", "packets sent to other nodes by dest node", "dest_node_id", |p| {
                p.counters.tx.packets()
            }),
            (
                "remote_rx_bytes_by_source_node",
                "bytes received from other nodes by source node",
                "source_node_id",
                |p| p.counters.rx.bytes(),
            ),
            ("remote_tx_bytes_by_dest_node", "bytes sent to other nodes by dest node", "dest_node_id", |p| {
                p.counters.tx.bytes()
            }),
        ];
        for (name, help, node, figure) in figures {
            let rows = peers.iter().map(|peer| (vec![label(node, peer.id.as_str())], figure(peer) as f64));
            self.family(name, &format!("TunMesh: {help}"), MetricType::GAUGE, rows);
        }
        let metrics = peers
            .iter()
            .filter(|peer| peer.counters.latency.count() > 0)
            .map(|peer| {
                let mut metric = self.metric(vec![label("source_node_id", peer.id.as_str())]);
                metric.set_histogram(histogram(&peer.counters.latency));
                metric
            })
            .collect();
        self.push(
            "tun_packet_latency_by_source_node",
            "TunMesh: Packet latency by source node",
            MetricType::HISTOGRAM,
            metrics,
        );
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        rows: impl IntoIterator<Item = (Vec<LabelPair>, f64)>,
    ) {
        let metrics = rows
            .into_iter()
            .map(|(labels, value)| {
                let mut metric = self.metric(labels);
                if kind == MetricType::COUNTER {
                    let mut counter = Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                } else {
                    let mut gauge = Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                }
                metric
            })
            .collect();
        self.push(name, help, kind, metrics);
    }

    fn metric(&self, labels: Vec<LabelPair>) -> Metric {
        debug_assert!(
            labels.iter().all(|label| METRIC_LABELS.contains(&label.name())),
            "a base label may have that name"
        );
        let mut metric = Metric::default();
        metric.set_label(self.base.iter().cloned().chain(labels).collect());
        metric
    }

    /// A family without metrics is left out, as the encoder refuses it.
    fn push(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.families.push(family);
    }
}

fn histogram(from: &counters::Histogram) -> Histogram {
    let mut histogram = Histogram::default();
    histogram.set_sample_count(from.count());
    histogram.set_sample_sum(from.sum());
    histogram.set_bucket(
        from.buckets()
            .map(|(bound, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(bound);
                bucket.set_cumulative_count(count);
                bucket
            })
            .collect(),
    );
    histogram
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn load(counter: &std::sync::atomic::AtomicU64) -> f64 {
    counter.load(std::sync::atomic::Ordering::Relaxed) as f64
}
