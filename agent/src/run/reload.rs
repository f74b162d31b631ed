use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tunmesh_protocol::config::{Config, Parsed, Ssl};

use super::upkeep;
use crate::settings::Source;
use crate::shared::{Live, Shared};
use crate::{logging, settings};

/// Takes over changes of the configuration file, and of the certificates it names, while the node runs.
///
/// The files are read every [`INTERVAL`], on SIGHUP, and when the mesh core is about to bootstrap again and the file
/// asks for that. A file that cannot be used changes nothing; it is tried again each time, as a certificate may still come, and
/// reported once. `device_due` is told when the device is to change too.
pub(super) async fn watch(
    shared: Arc<Shared>,
    source: Source,
    mut hang_up: Signal,
    due: Arc<Notify>,
    device_due: Arc<Notify>,
) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ssl = shared.live.load().config.control_api.ssl.clone();
    let path = &source.path;
    let mut seen = fingerprint(path, &ssl);
    // Why the file cannot be used at the moment.
    let mut refused: Option<String> = None;
    loop {
        let asked = tokio::select! {
            _ = tick.tick() => false,
            _ = hang_up.recv() => true,
            () = due.notified() => false,
        };
        let now = fingerprint(path, &ssl);
        let changed = now != seen;
        if !changed && refused.is_none() && !asked {
            continue;
        }
        seen = now;
        let outcome = match source.read() {
            Ok(parsed) => {
                let next = parsed.config.control_api.ssl.clone();
                if next != ssl {
                    ssl = next;
                    // The file itself as it was before it was read: a change since then is not missed.
                    let certificates = fingerprint(path, &ssl).split_off(1);
                    seen.truncate(1);
                    seen.extend(certificates);
                }
                take_over(&shared, parsed, &device_due).await
            }
            Err(error) => Err(error.into()),
        };
        let error = outcome.err().map(|error| format!("{error:#}"));
        if let Some(text) = error.as_ref().filter(|_| changed || asked || error != refused) {
            tracing::error!(error = text, "the changed configuration is not used");
        }
        refused = error;
    }
}

async fn take_over(shared: &Shared, parsed: Parsed, device_due: &Notify) -> anyhow::Result<()> {
    let mut config = parsed.config;
    let running = shared.live.load_full();
    let kept = keep_fixed(&mut config, &running.config);
    let concerns_device = upkeep::concerns(&config, &running.config);
    let (core, level) = (settings::mesh(&config, &shared.id), config.logging.level);
    shared.live.store(Arc::new(Live::new(config)?));
    logging::change_level(level);
    for warning in &parsed.warnings {
        tracing::warn!(%warning, "configuration");
    }
    for key in kept {
        tracing::warn!(key, "a change of this key needs a restart; the running value stays");
    }
    shared.owner.reconfigure(core).await?;
    if concerns_device {
        device_due.notify_one();
    }
    tracing::info!("configuration reloaded");
    Ok(())
}

/// Puts back what was used up at start and returns the keys that would have changed.
fn keep_fixed(new: &mut Config, running: &Config) -> Vec<&'static str> {
    let mut kept = Vec::new();
    macro_rules! keep {
        ($($path:ident).+) => {
            if new.$($path).+ != running.$($path).+ {
                new.$($path).+ = running.$($path).+.clone();
                kept.push(stringify!($($path).+));
            }
        };
    }
    keep!(clustering.auth.address_certificates);
    keep!(clustering.auth.pub_key_size);
    keep!(clustering.control_api_advertise_url);
    keep!(control_api.listen_address);
    keep!(control_api.listen_port);
    keep!(logging.format);
    keep!(networking.clamp_mss);
    keep!(networking.data_plane.advertise_endpoints);
    keep!(networking.data_plane.listen_port);
    keep!(networking.data_plane.paths);
    keep!(networking.data_plane.suite);
    keep!(networking.data_plane.workers);
    keep!(networking.ipv4.extra_addresses);
    keep!(networking.ipv4.network_cidr);
    keep!(networking.ipv4.node_address_cidr);
    keep!(networking.ipv6);
    if !upkeep::is_provided(running) {
        keep!(networking.mtu);
    }
    keep!(networking.routes);
    keep!(networking.tun_device_id);
    keep!(networking.tun_source);
    keep!(process.gid);
    keep!(process.uid);
    kept
}

/// The content of every file that counts, the configuration first; an unreadable one is told from an empty one.
fn fingerprint(path: &Path, ssl: &Ssl) -> Vec<Option<Vec<u8>>> {
    let files = [Some(path), Some(&*ssl.cert_file_path), Some(&*ssl.key_file_path), ssl.ca_file_path.as_deref()];
    files
        .into_iter()
        .flatten()
        .map(|file| {
            std::fs::read(file)
                .ok()
                .map(|bytes| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes).as_ref().to_vec())
        })
        .collect()
}

/// How often the files are looked at; a few kB from the page cache.
const INTERVAL: Duration = Duration::from_secs(2);
