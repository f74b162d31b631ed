//! `tunmesh-operator`: the operator and the node helper.
#![forbid(unsafe_code)]

mod args;

use std::future::{Future, ready};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use kube::Client;
use prometheus::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::filter::LevelFilter;
use tunmesh_operator::context::Settings;
use tunmesh_operator::inject::Defaults;
use tunmesh_operator::run::{Options, run};
use tunmesh_operator::{check, helper, serve};

use args::{Args, Command};

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(LevelFilter::INFO).init();
    match started(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn started(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    runtime.context("failed to start the runtime")?.block_on(dispatch(command))
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let client =
        Client::try_default().await.context("found no API server: run this in a cluster, or set KUBECONFIG")?;
    match command {
        Command::Check { namespace, json } => return check::run(client, &namespace, json).await,
        Command::NodeHelper { node_name, netns_dir, metrics_listen } => {
            let settings = helper::Settings { node_name, netns_dir };
            let registry = Registry::new();
            let metrics = serve::metrics(metrics_listen, registry.clone(), ready(())).await?;
            until_stopped(|stop| async {
                tokio::select! {
                    ended = helper::run(client, settings, &registry, stop) => ended.context("the node helper ended"),
                    ended = metrics => ended,
                }
            })
            .await?;
        }
        Command::Run {
            namespace,
            agent_image,
            webhook_listen,
            metrics_listen,
            cluster_domain,
            confirm,
            quarantine,
        } => {
            let cluster_domain = cluster_domain.unwrap_or_else(cluster_domain_here);
            let defaults = Defaults { agent_image };
            let settings = Settings { namespace, defaults, cluster_domain, confirm, quarantine };
            let options = Options { settings, webhook: Some(webhook_listen), metrics: metrics_listen };
            until_stopped(|stop| run(client, options, stop)).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `part`, and tells it to stop when the process is told to.
async fn until_stopped<Part>(part: impl FnOnce(watch::Receiver<bool>) -> Part) -> anyhow::Result<()>
where
    Part: Future<Output = anyhow::Result<()>>,
{
    let mut terminated = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let (stop, stopped) = watch::channel(false);
    let waiting = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        let _ended = stop.send(true);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = part(stopped) => ended,
        () = waiting => Ok(()),
    }
}

/// The domain of this cluster, as the resolver of a pod searches it: `search NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN`.
fn cluster_domain_here() -> String {
    let file = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut searched = file.lines().filter_map(|line| line.strip_prefix("search ")).flat_map(str::split_whitespace);
    searched.find_map(|domain| domain.strip_prefix("svc.")).unwrap_or("cluster.local").to_owned()
}

/// Threads: an operator mostly waits for the API server.
const WORKERS: usize = 2;
