use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};
use tunmesh_sys::netns::Netns;
use tunmesh_sys::star::Star;

use super::report::{NodeFigures, Pair, Report};
use super::{Options, measure, progress};
use crate::commands::print;
use crate::status::Status;

/// Builds the mesh, measures it and prints the report. Runs as the first process of namespaces of its own.
pub(in crate::commands) fn stage(options: &Options) -> anyhow::Result<()> {
    let folder = PathBuf::from("/run/tunmesh-demo");
    fs::create_dir_all(&folder).context("failed to make a folder for the demo's files")?;
    progress("making three network namespaces and a switch between them");
    let star = Star::build("10.77.0.0/24".parse()?, 3, 1500).context("failed to make the namespaces")?;
    let hosts = hosts(&star)?;
    write_certificate(&folder)?;

    progress("starting three agents");
    let mut agents = Vec::new();
    let mut last_start = Instant::now();
    for host in &hosts {
        last_start = Instant::now();
        agents.push(start(&folder, host)?);
    }
    let ready = wait_for_mesh(&hosts, &mut agents, &folder, last_start)?;
    progress("the mesh is up; measuring");
    let report = measured(&hosts, ready, Duration::from_secs(options.seconds))?;
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        print(&report.table())?;
    }
    if options.keep {
        progress("the mesh stays up; press Ctrl-C to remove it");
        for agent in &mut agents {
            agent.wait().context("failed to wait for an agent")?;
        }
        bail!("the agents ended");
    }
    stop(&mut agents);
    if !report.is_complete() {
        bail!("some echoes got no reply");
    }
    Ok(())
}

/// One of the three machines.
struct Host<'a> {
    name: String,
    netns: &'a Netns,
    /// Its address on the wire.
    underlay: Ipv4Addr,
    /// Its address in the mesh.
    overlay: Ipv4Addr,
}

fn hosts(star: &Star) -> anyhow::Result<Vec<Host<'_>>> {
    let named = Path::new("/run/netns");
    fs::create_dir_all(named).context("failed to make a folder for namespace names")?;
    (1..)
        .zip(star.leaves.iter().zip(&star.addresses))
        .map(|(number, (netns, address)): (u8, _)| {
            let name = format!("tm{number}");
            give_name(netns, &named.join(&name)).context("failed to name a network namespace")?;
            Ok(Host { name, netns, underlay: address.addr(), overlay: Ipv4Addr::new(192, 168, 129, number * 10) })
        })
        .collect()
}

/// Puts the namespace where `ip netns` looks for names.
fn give_name(netns: &Netns, path: &Path) -> anyhow::Result<()> {
    File::create(path)?;
    let source = format!("/proc/self/fd/{}", netns.as_fd().as_raw_fd());
    mount(Some(source.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// One self-signed CA:TRUE certificate for all, as in the original's example.
fn write_certificate(folder: &Path) -> anyhow::Result<()> {
    let mut params = rcgen::CertificateParams::new(vec!["tunmesh.local".into()])?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    fs::write(folder.join("cert.pem"), certificate.pem())?;
    write_for_agents(&folder.join("key.pem"), &key.serialize_pem())
}

fn start(folder: &Path, host: &Host<'_>) -> anyhow::Result<Child> {
    let file = folder.join(format!("{}.yaml", host.name));
    write_for_agents(&file, &configuration(host))?;
    let log = File::create(folder.join(format!("{}.log", host.name)))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg("run").arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    host.netns.join_on_exec(&mut command)?;
    command.spawn().with_context(|| format!("failed to start {}", host.name))
}

/// A file of the original's format; every node bootstraps from the first.
fn configuration(host: &Host<'_>) -> String {
    let urls = if host.name == "tm1" { "[]" } else { "[\"https://10.77.0.1:4567\"]" };
    format!(
        "tun_mesh:
  config_version: 1.1
  clustering:
    bootstrap_groups: {{default: {{bootstrap_node_urls: {urls}}}}}
    control_api_advertise_url: https://{}:4567
    auth: {{secret: {}}}
  control_api:
    ssl: {{cert_file_path: cert.pem, key_file_path: key.pem}}
  networking:
    ipv4: {{network_cidr: 192.168.129.0/24, node_address_cidr: {}/26}}
  process:
    uid: {AGENT_UID}
",
        host.underlay, SECRET, host.overlay
    )
}

/// The agents drop to [`AGENT_UID`] and must be able to read their files again; nobody else sees this folder.
fn write_for_agents(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    Ok(())
}

/// Waits until every pair answers and returns the time since the last start.
fn wait_for_mesh(
    hosts: &[Host<'_>],
    agents: &mut [Child],
    folder: &Path,
    last_start: Instant,
) -> anyhow::Result<Duration> {
    for (from, to) in pairs(hosts) {
        loop {
            if measure::first_reply(from.netns, to.overlay, Duration::from_millis(100))?.is_some() {
                break;
            }
            for (agent, host) in agents.iter_mut().zip(hosts) {
                if let Some(status) = agent.try_wait()? {
                    let log = fs::read_to_string(folder.join(format!("{}.log", host.name))).unwrap_or_default();
                    bail!("{} ended with {status}:\n{log}", host.name);
                }
            }
            if last_start.elapsed() > READY_LIMIT {
                let log = fs::read_to_string(folder.join(format!("{}.log", from.name))).unwrap_or_default();
                bail!(
                    "no reply from {} to {} within {READY_LIMIT:?}; the log of {}:\n{log}",
                    to.name,
                    from.name,
                    from.name
                );
            }
        }
    }
    Ok(last_start.elapsed())
}

fn measured(hosts: &[Host<'_>], ready: Duration, time: Duration) -> anyhow::Result<Report> {
    let mut pings = Vec::new();
    for (from, to) in pairs(hosts) {
        let veth = measure::round_trips(from.netns, to.underlay, ECHOES)?;
        let mesh = measure::round_trips(from.netns, to.overlay, ECHOES)?;
        pings.push(Pair {
            from: from.name.clone(),
            to: to.name.clone(),
            sent: ECHOES,
            received: mesh.len(),
            median_ms: millis(mesh.get(mesh.len() / 2)),
            max_ms: millis(mesh.last()),
            veth_median_ms: millis(veth.get(veth.len() / 2)),
        });
    }
    let (first, last) = (&hosts[0], &hosts[hosts.len() - 1]);
    let mesh =
        measure::throughput(first.netns, last.netns, last.overlay, time).context("the TCP measurement failed")?;
    let veth = measure::throughput(first.netns, last.netns, last.underlay, time.min(Duration::from_secs(1)))?;
    let nodes = hosts
        .iter()
        .map(|host| {
            let status = host.netns.run(|| Status::ask("tun1"))??;
            Ok(NodeFigures {
                name: host.name.clone(),
                address: status.address,
                resident_mb: status.resident_bytes as f64 / 1e6,
                drops: status.drops.values().sum(),
            })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Report {
        ready_ms: ready.as_secs_f64() * 1e3,
        pairs: pings,
        tcp_mbit_per_s: mesh / 1e6,
        veth_tcp_mbit_per_s: veth / 1e6,
        nodes,
    })
}

fn stop(agents: &mut [Child]) {
    for agent in agents.iter_mut() {
        if let Ok(pid) = i32::try_from(agent.id()) {
            let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
    }
    for agent in agents {
        let _gone = agent.wait();
    }
}

fn pairs<'h>(hosts: &'h [Host<'h>]) -> impl Iterator<Item = (&'h Host<'h>, &'h Host<'h>)> {
    hosts.iter().flat_map(move |from| hosts.iter().filter(move |to| to.name != from.name).map(move |to| (from, to)))
}

fn millis(time: Option<&Duration>) -> f64 {
    time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// The uid agents drop to; the one the namespaces map when the demo runs without root.
const AGENT_UID: u32 = 65_532;

/// Echoes per pair.
const ECHOES: u16 = 50;

/// Longest wait for the mesh; it takes a fifth of a second where nothing else runs.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// Known to everybody, and good for nothing outside these namespaces.
const SECRET: &str = "demo-only-5mAqPz8sVt3RkYwXc7LbNh2JdGfUe9";
