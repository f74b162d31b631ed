//! The command line.

use std::path::PathBuf;

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
    /// Run a node
    Run {
        /// Configuration file
        #[arg(long, short, env = "TUNMESH_CONFIG_PATH", default_value = "/etc/tunmesh/config.yaml")]
        config: PathBuf,
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
