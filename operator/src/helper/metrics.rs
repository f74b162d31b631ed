use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};
use tunmesh_sys::tun::Refusal;

/// Figures of the node helper.
pub(super) struct Metrics {
    hand_over: Histogram,
    refusals: IntCounterVec,
    listening: IntGauge,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let hand_over = Histogram::with_opts(
            HistogramOpts::new(
                "tunmesh_helper_hand_over_seconds",
                "Time from the connection of an agent to the device on its way to it.",
            )
            .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]),
        )?;
        let refusals =
            Opts::new("tunmesh_helper_refusals_total", "Requests for a device that were refused, by reason.");
        let refusals = IntCounterVec::new(refusals, &["reason"])?;
        for reason in Refusal::ALL {
            refusals.with_label_values(&[label(reason)]).reset();
        }
        let listening = IntGauge::new("tunmesh_helper_namespaces", "Network namespaces with a listener of ours.")?;
        registry.register(Box::new(hand_over.clone()))?;
        registry.register(Box::new(refusals.clone()))?;
        registry.register(Box::new(listening.clone()))?;
        Ok(Self { hand_over, refusals, listening })
    }

    pub(super) fn handed_over(&self, took: Duration) {
        self.hand_over.observe(took.as_secs_f64());
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.refusals.with_label_values(&[label(reason)]).inc();
    }

    pub(super) fn listening(&self, namespaces: usize) {
        self.listening.set(i64::try_from(namespaces).unwrap_or(i64::MAX));
    }
}

fn label(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Busy => "busy",
        Refusal::Device => "device",
        Refusal::Malformed => "malformed",
        Refusal::Member => "member",
        Refusal::Token => "token",
        Refusal::Unavailable => "unavailable",
    }
}
