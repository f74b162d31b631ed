use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;
use tunmesh_protocol::config::{Config, TunSource};

use super::device;
use crate::data::Device;
use crate::settings;
use crate::shared::Shared;

/// Whether a helper made the device, which then changes with the file: this process has no right to.
pub(super) fn is_provided(config: &Config) -> bool {
    matches!(config.networking.tun_source, TunSource::Helper { .. })
}

/// Whether the device is to change as the file did. The helper knows by itself what it is to be.
pub(super) fn concerns(new: &Config, before: &Config) -> bool {
    let of = |config: &Config| (config.networking.mtu, config.networking.ipv4.further_networks.clone());
    is_provided(new) && of(new) != of(before)
}

/// Has the helper bring the device up to date each time this is `due`, and asks until it did; packets flow meanwhile.
pub(super) async fn watch(shared: Arc<Shared>, device: Arc<Device>, due: Arc<Notify>) {
    loop {
        due.notified().await;
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        let mtu = loop {
            let error = match update(&shared, &device).await {
                Ok(mtu) => break mtu,
                Err(error) => format!("{error:#}"),
            };
            if error != told {
                tracing::warn!(error, "the device is not up to date yet; asking the node helper again");
                told = error;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        };
        let resized = device.note_mtu(mtu);
        tracing::info!(device = device.name(), mtu, "device brought up to date");
        if resized {
            let core = settings::mesh(&shared.live.load().config, &shared.id);
            // Stopping, there is no owner.
            let _stopping = shared.owner.reconfigure(core).await;
        }
    }
}

/// Asks once, with the file of this moment.
async fn update(shared: &Arc<Shared>, device: &Arc<Device>) -> anyhow::Result<u32> {
    let (done, outcome) = oneshot::channel();
    let (live, device) = (shared.live.load_full(), Arc::clone(device));
    // A thread of its own, which blocks for seconds if the helper is away: the runtime would wait for it when it stops.
    let work = move || {
        let _stopping = done.send(device::update(&live.config, device.name()));
    };
    std::thread::Builder::new().name("upkeep".into()).spawn(work).context("failed to start a thread")?;
    outcome.await.context("the thread ended early")?
}

/// Between two attempts, doubled after each: a helper that is replaced is back within seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
