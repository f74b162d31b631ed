//! Figures of the operator.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use tunmesh_crds::TunMeshStatus;

use crate::error::Category;

/// Figures of the operator, in the registry it was made with.
pub struct Metrics {
    reconcile: HistogramVec,
    errors: IntCounterVec,
    depth: IntGaugeVec,
    asked: IntCounterVec,
    /// Addresses by mesh and what became of them.
    addresses: IntGaugeVec,
    /// Members by mesh and what became of them.
    members: IntGaugeVec,
    /// Unix time at which the authority of a mesh ends.
    authority_expires: IntGaugeVec,
}

impl Metrics {
    /// # Errors
    ///
    /// If `registry` has metrics of these names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        const PREFIX: &str = "tunmesh_operator";
        let opts = |name: &str, help: &str| Opts::new(format!("{PREFIX}_{name}"), help.to_owned());
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge = IntGaugeVec::new(opts(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(opts(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
        let reconcile = HistogramOpts::from(opts("reconcile_seconds", "Time to make one object as it should be."));
        let reconcile = HistogramVec::new(reconcile.buckets(buckets), &["kind"])?;
        registry.register(Box::new(reconcile.clone()))?;
        Ok(Self {
            reconcile,
            errors: counter("errors_total", "What failed, by kind of object and category.", &["kind", "category"])?,
            asked: counter(
                "controllers_asked_total",
                "Times that the controller of a workload was asked to make pods that were refused, by its kind.",
                &["kind"],
            )?,
            depth: gauge("queue_depth", "Objects of a kind that wait to be looked at.", &["kind"])?,
            addresses: gauge(
                "addresses",
                "Addresses of a mesh: capacity, used, quarantined.",
                &["mesh", "namespace", "state"],
            )?,
            members: gauge(
                "members",
                "Members of a mesh: total, ready, waiting, drifted.",
                &["mesh", "namespace", "state"],
            )?,
            authority_expires: gauge(
                "authority_expires_timestamp_seconds",
                "When the authority of a mesh ends.",
                &["mesh", "namespace"],
            )?,
        })
    }

    /// What the status of a mesh says.
    pub(crate) fn mesh(&self, namespace: &str, mesh: &str, status: &TunMeshStatus) {
        let (addresses, members) = (&status.addresses, &status.members);
        for (state, count) in
            [("capacity", addresses.capacity), ("used", addresses.used), ("quarantined", addresses.quarantined)]
        {
            self.addresses.with_label_values(&[mesh, namespace, state]).set(count.into());
        }
        let states = [
            ("total", members.total),
            ("ready", members.ready),
            ("waiting", members.waiting),
            ("drifted", members.drifted),
        ];
        for (state, count) in states {
            self.members.with_label_values(&[mesh, namespace, state]).set(count.into());
        }
        if let Some(expires) = &status.trust.authority_expires {
            self.authority_expires.with_label_values(&[mesh, namespace]).set(expires.0.as_second());
        }
    }

    /// A mesh is gone.
    pub(crate) fn forget(&self, namespace: &str, mesh: &str) {
        for (gauge, states) in [
            (&self.addresses, &["capacity", "used", "quarantined"][..]),
            (&self.members, &["total", "ready", "waiting", "drifted"]),
        ] {
            for state in states {
                let _absent = gauge.remove_label_values(&[mesh, namespace, state]);
            }
        }
        let _absent = self.authority_expires.remove_label_values(&[mesh, namespace]);
    }

    /// One reconciliation of an object of `kind` is over.
    pub(crate) fn reconciled(&self, kind: &str, took: Duration, error: Option<Category>) {
        self.reconcile.with_label_values(&[kind]).observe(took.as_secs_f64());
        if let Some(category) = error {
            self.errors.with_label_values(&[kind, category.as_str()]).inc();
        }
    }

    /// The controller of a workload of `kind` was asked to make its pods, or that failed.
    pub(crate) fn asked(&self, kind: &str, error: Option<Category>) {
        match error {
            None => self.asked.with_label_values(&[kind]).inc(),
            Some(category) => self.errors.with_label_values(&[kind, category.as_str()]).inc(),
        }
    }

    /// How many objects of `kind` wait in their queue.
    pub(crate) fn depth(&self, kind: &str) -> IntGauge {
        self.depth.with_label_values(&[kind])
    }
}
