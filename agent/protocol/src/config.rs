//! The configuration file, version 1.1 of the original's format and our optional additions.
//!
//! One table, `schema/keys.rs`, says what keys there are; the validator, the commented [`example()`] and the
//! [`reference()`] page all
//! read it. The file is read with `saphyr-parser`, because it gives the line of every value; `serde_yaml` is deprecated
//! and its errors stop at the first. Nothing here reads a clock; files are only asked whether they exist.

mod build;
mod example;
mod finding;
mod networking;
mod number;
mod reader;
mod reference;
mod scalar;
mod schema;
mod timing;
mod types;
mod values;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use example::example;
pub use finding::{Finding, Problems};
pub use reader::METRIC_LABELS;
pub use reference::reference;
pub use types::{
    Auth, AuthTiming, BootstrapGroup, Clustering, Config, ControlApi, DataPlane, Ipv4, Ipv6, LogFormat, LogLevel,
    Logging, Monitoring, MonitoringMethod, NetworkTiming, Networking, PacketTiming, Paths, Process, Prometheus,
    RegistrationTimers, RegistrationTiming, Retries, Ssl, SuiteChoice, Timing, TunSource, WireGuardPeer,
};

/// What the text of a file cannot say.
pub struct ParseOptions<'a> {
    /// Folder of the file; relative paths in it start there.
    pub base_dir: &'a Path,
    /// A number from 0 to 1, asked for once per timing range such as `5..10s`.
    pub random: &'a mut dyn FnMut() -> f64,
}

/// A file that can be used.
pub struct Parsed {
    /// What it says, defaults filled in.
    pub config: Config,
    /// What should be looked at nevertheless.
    pub warnings: Vec<Finding>,
}

/// Reads and validates the text of a file.
///
/// # Errors
///
/// Every problem of the file at once; if it is not YAML, that alone.
pub fn parse(text: &str, options: &mut ParseOptions<'_>) -> Result<Parsed, Problems> {
    let root = yaml::load(text).map_err(|finding| Problems(vec![finding]))?;
    let mut reader = reader::Reader::new(options);
    reader.read(&root);
    let (values, mut problems, mut warnings) = reader.finish();
    build::check(&values, &mut problems, &mut warnings);
    if problems.is_empty() { Ok(Parsed { config: build::config(&values), warnings }) } else { Err(Problems(problems)) }
}
