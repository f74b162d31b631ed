use std::fmt::Write as _;

use serde::Serialize;

/// The figures of one demo.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// From the start of the last agent to a reply between every pair.
    pub(super) ready_ms: f64,
    pub(super) pairs: Vec<Pair>,
    pub(super) tcp_mbit_per_s: f64,
    /// The same between the namespaces without the mesh, for scale.
    pub(super) veth_tcp_mbit_per_s: f64,
    pub(super) nodes: Vec<NodeFigures>,
}

/// Round trips between two nodes.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) sent: u16,
    pub(super) received: usize,
    pub(super) median_ms: f64,
    pub(super) max_ms: f64,
    pub(super) veth_median_ms: f64,
}

/// What one agent needed.
#[derive(Debug, Serialize)]
pub(super) struct NodeFigures {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) resident_mb: f64,
    pub(super) drops: u64,
}

impl Report {
    /// Whether every echo came back.
    pub(super) fn is_complete(&self) -> bool {
        self.pairs.iter().all(|pair| pair.received == usize::from(pair.sent))
    }

    /// The table a person reads.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let _infallible = writeln!(text, "\nall pairs reachable {:.0} ms after the last start\n", self.ready_ms);
        let _infallible = writeln!(
            text,
            "{:<12} {:>9} {:>14} {:>11} {:>14}",
            "PAIR", "REPLIES", "ROUND TRIP", "SLOWEST", "WITHOUT MESH"
        );
        for pair in &self.pairs {
            let _infallible = writeln!(
                text,
                "{:<12} {:>9} {:>11.3} ms {:>8.3} ms {:>11.3} ms",
                format!("{} > {}", pair.from, pair.to),
                format!("{}/{}", pair.received, pair.sent),
                pair.median_ms,
                pair.max_ms,
                pair.veth_median_ms
            );
        }
        let _infallible = writeln!(
            text,
            "\nTCP, one stream: {:.0} Mbit/s through the mesh, {:.0} Mbit/s without it\n",
            self.tcp_mbit_per_s, self.veth_tcp_mbit_per_s
        );
        let _infallible = writeln!(text, "{:<6} {:<18} {:>10} {:>7}", "NODE", "ADDRESS", "MEMORY", "DROPS");
        for node in &self.nodes {
            let _infallible =
                writeln!(text, "{:<6} {:<18} {:>7.1} MB {:>7}", node.name, node.address, node.resident_mb, node.drops);
        }
        text
    }
}
