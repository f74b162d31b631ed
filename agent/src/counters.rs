//! Counters of the packet path: plain atomics, read by metrics and status.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tunmesh_mesh::DropReason;

/// A number of packets and their bytes, as they are on the wire of the mesh: a super packet counts as what it is cut into.
#[derive(Default)]
pub(crate) struct Traffic {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    pub(crate) fn add(&self, bytes: usize) {
        self.add_many(1, bytes);
    }

    /// Adds packets that have `bytes` bytes together.
    pub(crate) fn add_many(&self, packets: usize, bytes: usize) {
        self.packets.fetch_add(packets as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

/// What this node did, in all.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) drops: Drops,
    /// Packets received from other nodes.
    pub(crate) remote_rx: Traffic,
    /// Packets sent to other nodes.
    pub(crate) remote_tx: Traffic,
    /// Packets read from the TUN device.
    pub(crate) tun_rx: Traffic,
    /// Packets that the TUN device took.
    pub(crate) tun_tx: Traffic,
}

/// What this node did with one peer.
#[derive(Default)]
pub(crate) struct PeerCounters {
    pub(crate) drops: Drops,
    /// Time from the sender's stamp to our TUN device; for sealed datagrams, half of a ping's round trip.
    pub(crate) latency: Histogram,
    pub(crate) rx: Traffic,
    pub(crate) tx: Traffic,
    /// POSTs with packets in them.
    pub(crate) requests: AtomicU64,
    /// Time from the last POST with packets to its answer, in microseconds; 0 before the first.
    pub(crate) answer_micros: AtomicU64,
    /// Requests that got no answer or a refusal.
    pub(crate) faults: AtomicU64,
}

/// Dropped packets by reason.
#[derive(Default)]
pub(crate) struct Drops([AtomicU64; DropReason::ALL.len()]);

impl Drops {
    pub(crate) fn add(&self, reason: DropReason) {
        self.add_many(reason, 1);
    }

    pub(crate) fn add_many(&self, reason: DropReason, packets: usize) {
        self.0[reason as usize].fetch_add(packets as u64, Relaxed);
    }

    /// Reasons that occurred, with their number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .into_iter()
            .map(|reason| (reason, self.0[reason as usize].load(Relaxed)))
            .filter(|(_, n)| *n > 0)
    }
}

/// Durations in the original's buckets.
#[derive(Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, value: Duration) {
        let seconds = value.as_secs_f64();
        for (bucket, bound) in self.buckets.iter().zip(BUCKETS) {
            if seconds <= bound {
                bucket.fetch_add(1, Relaxed);
            }
        }
        self.count.fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(value.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Sum of all durations, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        self.micros.load(Relaxed) as f64 / 1e6
    }

    /// Cumulative count per upper bound in seconds.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        BUCKETS.into_iter().zip(self.buckets.iter().map(|bucket| bucket.load(Relaxed)))
    }
}

/// Upper bounds in seconds, those of the original's Prometheus client.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
