use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tunmesh_protocol::config::{Config, Parsed, Ssl};

use crate::shared::{Live, Shared};
use crate::{logging, settings};

/// Takes over changes of the configuration file, and of the certificates it names, while the node runs.
///
/// The files are read every [`INTERVAL`], on SIGHUP, and when the mesh core is about to bootstrap again and the file
/// asks for that. A file that cannot be used is reported once and changes nothing; once it or a certificate it names changes,
/// it is tried again.
pub(super) async fn watch(shared: Arc<Shared>, path: PathBuf, mut hang_up: Signal, due: Arc<Notify>) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ssl = shared.live.load().config.control_api.ssl.clone();
    let mut seen = fingerprint(&path, &ssl);
    loop {
        let asked = tokio::select! {
            _ = tick.tick() => false,
            _ = hang_up.recv() => true,
            () = due.notified() => false,
        };
        let now = fingerprint(&path, &ssl);
        if now == seen && !asked {
            continue;
        }
        seen = now;
        let parsed = settings::read(&path);
        if let Ok(parsed) = &parsed
            && parsed.config.control_api.ssl != ssl
        {
            ssl = parsed.config.control_api.ssl.clone();
            let file = seen.swap_remove(0);
            seen = fingerprint(&path, &ssl);
            // Of the file itself as it was before it was read: a change since then is not missed.
            seen[0] = file;
        }
        let outcome = match parsed {
            Ok(parsed) => take_over(&shared, parsed).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = outcome {
            tracing::error!(error = format!("{error:#}"), "the changed configuration is not used");
        }
    }
}

async fn take_over(shared: &Shared, parsed: Parsed) -> anyhow::Result<()> {
    for warning in &parsed.warnings {
        tracing::warn!(%warning, "configuration");
    }
    let mut config = parsed.config;
    for key in keep_fixed(&mut config, &shared.live.load().config) {
        tracing::warn!(key, "a change of this key needs a restart; the running value stays");
    }
    let (core, level) = (settings::mesh(&config, &shared.id), config.logging.level);
    shared.live.store(Arc::new(Live::new(config)?));
    logging::change_level(level);
    shared.owner.reconfigure(core).await?;
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
    keep!(networking.mtu);
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
