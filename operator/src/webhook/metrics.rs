use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

/// What the webhook counts.
pub(super) struct Metrics {
    duration: Histogram,
    verdicts: IntCounterVec,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let duration = HistogramOpts::new(
            "tunmesh_webhook_duration_seconds",
            "Time to answer a request of the webhook once it is read",
        );
        let duration = Histogram::with_opts(duration.buckets(BUCKETS.to_vec()))?;
        let verdicts = Opts::new("tunmesh_webhook_verdicts_total", "What the webhook answered");
        let verdicts = IntCounterVec::new(verdicts, &["verdict"])?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(verdicts.clone()))?;
        Ok(Self { duration, verdicts })
    }

    /// Measures until the guard is dropped.
    pub(super) fn start(&self) -> prometheus::HistogramTimer {
        self.duration.start_timer()
    }

    pub(super) fn count(&self, verdict: &str) {
        self.verdicts.with_label_values(&[verdict]).inc();
    }
}

/// Seconds: 10 ms is what is promised of 99 in 100, and the API server gives up after 5 s.
const BUCKETS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0, 5.0];
