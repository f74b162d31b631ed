//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// One private layer-3 network between pods, virtual machines, laptops and clusters.
#[derive(Debug, Parser)]
#[command(name = "tunmesh", version, about, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Find out what is wrong: file, certificates, running node, peers, network; exit status 1 if anything does not work
    Check {
        /// Configuration file
        #[arg(long, short, env = "TUNMESH_CONFIG_PATH", default_value = "/etc/tunmesh/config.yaml")]
        config: PathBuf,
        /// TUN device of the node, if it is not the one of the file
        #[arg(long)]
        device: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the completion script of a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write or check a configuration file
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Start three nodes on this machine, in namespaces of their own, and measure the mesh
    Demo {
        /// Print the figures as JSON
        #[arg(long, conflicts_with = "keep")]
        json: bool,
        /// Leave the mesh running and print how to try it by hand
        #[arg(long)]
        keep: bool,
        /// Seconds each throughput measurement takes
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
        seconds: u64,
    },
    /// The part of `demo` that lives inside the namespaces
    #[command(hide = true)]
    DemoStage {
        #[arg(long)]
        json: bool,
        #[arg(long)]
        keep: bool,
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Print what other software needs to be a member through a node
    Export {
        #[command(subcommand)]
        command: ExportCommand,
    },
    /// Wait until the node in this network namespace is in the mesh, or alone in it as far as it can know
    Ready {
        /// TUN device of the node, if there are several
        #[arg(long)]
        device: Option<String>,
        /// How long to wait, such as 60s; exit status 1 if it is not ready then
        #[arg(long, default_value = "0s", value_parser = duration)]
        wait: Duration,
    },
    /// Run a node
    Run {
        /// Configuration file
        #[arg(long, short, env = "TUNMESH_CONFIG_PATH", default_value = "/etc/tunmesh/config.yaml")]
        config: PathBuf,
        /// IP address that replaces the host of clustering.control_api_advertise_url
        #[arg(long, env = "TUNMESH_ADVERTISE_ADDRESS")]
        advertise_address: Option<IpAddr>,
        /// Start the node as a process of its own, and again at once when a signal ends it that nobody sent to this one;
        /// after more than 5 such ends within 60 s end as it did. This process keeps the rights it was started with
        #[arg(long)]
        supervise: bool,
        /// Process number of the one that supervises
        #[arg(long, hide = true, conflicts_with = "supervise")]
        supervised_by: Option<i32>,
        /// How the node before this one ended
        #[arg(long, hide = true, requires = "supervised_by")]
        previous_end: Option<String>,
    },
    /// Show the members, traffic and drops of the node in this network namespace
    Status {
        /// TUN device of the node, if it is not the one of the default configuration
        #[arg(long, default_value = "tun1")]
        device: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Print again every second until interrupted
        #[arg(long, short)]
        watch: bool,
    },
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Parse and lint a file; exit status 1 with every problem if it cannot be used
    Check {
        /// Configuration file
        file: PathBuf,
    },
    /// Print a commented example with every key
    Example,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExportCommand {
    /// Print the file of a WireGuard client, with its secrets
    Wg {
        /// Configuration file of the node that serves the device
        #[arg(long, short, env = "TUNMESH_CONFIG_PATH", default_value = "/etc/tunmesh/config.yaml")]
        config: PathBuf,
        /// Name of the device in networking.wireguard_peers
        #[arg(long)]
        name: String,
        /// Print a QR code for the camera of a phone
        #[arg(long)]
        qr: bool,
    },
}

/// A number of seconds, with or without an `s`.
fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok();
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| format!("{text:?} is no number of seconds, such as 60s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_seconds() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "s", "-1s", "1m", "inf"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
