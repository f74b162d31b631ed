//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// The Tun Mesh operator: one `TunMesh` resource becomes a running mesh.
#[derive(Debug, Parser)]
#[command(name = "tunmesh-operator", version, about, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Find out what is wrong with the meshes of the cluster; exit status 1 if anything is
    Check {
        /// Namespace of the operator
        #[arg(long, env = "POD_NAMESPACE", default_value = "tunmesh-system")]
        namespace: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make TUN devices for the pods of this node, and hand them over
    NodeHelper {
        /// The node it runs on
        #[arg(long, env = "NODE_NAME")]
        node_name: String,
        /// Where the runtime keeps network namespaces
        #[arg(long, default_value = "/run/netns")]
        netns_dir: PathBuf,
        /// Where /metrics, /healthz and /readyz are
        #[arg(long, default_value = "[::]:8081")]
        metrics_listen: SocketAddr,
    },
    /// Run the operator
    Run {
        /// Namespace of the operator
        #[arg(long, env = "POD_NAMESPACE", default_value = "tunmesh-system")]
        namespace: String,
        /// Image of the agent, for meshes and pods that name none
        #[arg(long, env = "AGENT_IMAGE")]
        agent_image: String,
        /// Where the API server calls the webhook
        #[arg(long, default_value = "[::]:9443")]
        webhook_listen: SocketAddr,
        /// Where /metrics, /healthz and /readyz are
        #[arg(long, default_value = "[::]:8080")]
        metrics_listen: SocketAddr,
        /// Domain of the cluster's names; that of /etc/resolv.conf, or else cluster.local
        #[arg(long)]
        cluster_domain: Option<String>,
        /// Time between the two looks after which the owner of an address counts as gone, such as 5s
        #[arg(long, default_value = "5s", value_parser = period)]
        confirm: Duration,
        /// How long an address rests before it is given out again, if less than twice the lifetime of its certificates, such
        /// as 1h
        #[arg(long, value_parser = period)]
        quarantine: Option<Duration>,
    },
}

fn period(text: &str) -> Result<Duration, tunmesh_crds::ParsePeriodError> {
    text.parse::<tunmesh_crds::Period>().map(tunmesh_crds::Period::duration)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        assert_eq!(period("1m30s"), Ok(Duration::from_secs(90)));
        assert!(Args::try_parse_from(["tunmesh-operator", "run", "--agent-image", "a", "--confirm", "5"]).is_err());
    }
}
