use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use ipnet::Ipv6Net;
use tunmesh_protocol::config::{Config, TunSource};
use tunmesh_sys::privileges;
use tunmesh_sys::tun::{self, Features, Helper, Received, Tun, TunError, TunSettings, Wanted};

use super::SOCKET_BUFFER;
use crate::data::{self, Socket};
use crate::settings;

/// The device, and whoever handed it over.
pub(super) struct Opened {
    pub(super) tun: Tun,
    pub(super) helper: Option<Helper>,
}

/// Makes the device, or takes it over, as the file says; with `queues` queues where there is a choice.
pub(super) fn open(config: &Config, queues: usize) -> anyhow::Result<Opened> {
    let tun = match &config.networking.tun_source {
        TunSource::Create => create(config, queues)?,
        TunSource::Descriptor(number) => {
            let fd = tunmesh_sys::fd::inherited(*number)
                .with_context(|| format!("descriptor {number} (networking.tun_handover.fd) was not handed over"))?;
            tun::adopt(fd)
                .with_context(|| format!("descriptor {number} (networking.tun_handover.fd) cannot be used"))?
        }
        TunSource::Helper { socket, token_file } => {
            let Received { tun, origin, helper } = receive(config, socket, token_file.as_deref(), queues)?;
            tracing::info!(device = tun.name(), queues = tun.queues().len(), ?origin, "device handed over");
            return Ok(Opened { tun, helper: Some(helper) });
        }
    };
    Ok(Opened { tun, helper: None })
}

/// Has the helper lift the buffers of our sockets over the limits of the host; they do without it.
pub(super) fn lift_buffers(helper: Helper, sockets: &[Arc<Socket>]) {
    if sockets.is_empty() {
        return;
    }
    let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(|socket| socket.as_fd()).collect();
    let bytes = u32::try_from(SOCKET_BUFFER).unwrap_or(u32::MAX);
    match helper.lift_buffers(&fds, bytes, LIFT_LIMIT) {
        Ok(lifted) => tracing::debug!(lifted, "socket buffers lifted"),
        Err(error) => tracing::warn!(
            error = format!("{:#}", anyhow::Error::from(error)),
            "socket buffers stay as the host limits them"
        ),
    }
}

fn create(config: &Config, queues: usize) -> anyhow::Result<Tun> {
    let networking = &config.networking;
    let extra: Vec<_> = networking.ipv4.extra_addresses.iter().copied().map(settings::net).collect();
    let routes: Vec<_> =
        networking.routes.iter().chain(&networking.ipv4.further_networks).copied().map(settings::net).collect();
    let ipv6: Vec<_> =
        networking.ipv6.iter().filter_map(|ipv6| Ipv6Net::new(ipv6.address, ipv6.network.prefix_len()).ok()).collect();
    let features = Features {
        queues,
        offload: true,
        max_segments: Some(data::segments_per_run(networking.mtu)),
        ipv6_addresses: &ipv6,
        ipv6_routes: &[],
    };
    let settings = TunSettings {
        name: &networking.tun_device_id,
        address: settings::net(networking.ipv4.node_address_cidr),
        network: settings::net(networking.ipv4.network_cidr).trunc(),
        extra_addresses: &extra,
        routes: &routes,
        mtu: u32::from(networking.mtu),
        queue_len: QUEUE_LEN,
    };
    tun::create_with(&settings, &features).context("failed to make the TUN device")
}

/// Has the helper that made the device bring it to the networks and the MTU it should have now; returns that MTU.
pub(super) fn update(config: &Config, device: &str) -> anyhow::Result<u32> {
    let TunSource::Helper { socket, token_file } = &config.networking.tun_source else {
        anyhow::bail!("no helper made the device");
    };
    ask(config, token_file.as_deref(), 0, |wanted| tun::update(socket, device, wanted, ATTEMPT_LIMIT))
}

/// Asks the helper until it gives a device. It may come late, as may the token and what the helper wants to know of us.
fn receive(config: &Config, socket: &str, token_file: Option<&Path>, queues: usize) -> anyhow::Result<Received> {
    if token_file.is_some() {
        // From here on, as the token is in our memory, and long waits are possible before we are confined.
        privileges::hide().context("failed to keep the token from other processes")?;
    }
    let deadline = Instant::now() + HAND_OVER_LIMIT;
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    loop {
        let error = match ask(config, token_file, queues, |wanted| tun::receive(socket, wanted, ATTEMPT_LIMIT)) {
            Ok(received) => return Ok(received),
            Err(error) => error,
        };
        let text = format!("{error:#}");
        if !error.downcast_ref().is_none_or(may_pass) || Instant::now() >= deadline {
            return Err(error.context(format!("no TUN device from {socket} (networking.tun_handover.socket)")));
        }
        if text != told {
            tracing::warn!(error = text, "no TUN device yet; asking the node helper again");
            told = text;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

fn ask<T>(
    config: &Config,
    token_file: Option<&Path>,
    queues: usize,
    exchange: impl FnOnce(&Wanted<'_>) -> Result<T, TunError>,
) -> anyhow::Result<T> {
    let read = |path: &Path| {
        std::fs::read(path)
            .with_context(|| format!("failed to read {} (networking.tun_handover.token_file)", path.display()))
    };
    let token = token_file.map(read).transpose()?.unwrap_or_default();
    let wanted = Wanted {
        queues: u16::try_from(queues).unwrap_or(u16::MAX),
        max_segments: u16::try_from(data::segments_per_run(config.networking.mtu)).ok(),
        token: token.trim_ascii(),
    };
    Ok(exchange(&wanted)?)
}

/// Whether the same attempt may succeed later.
fn may_pass(error: &TunError) -> bool {
    matches!(
        error,
        TunError::Malformed { .. } | TunError::NoHelper { .. } | TunError::Peer { .. } | TunError::Refused { .. }
    )
}

/// Packets the kernel keeps for us while we hold back: 24 ms of 1,200-byte datagrams at 400 Mbit/s. A longer queue would lose
/// fewer of them under load and make everything else wait behind it.
const QUEUE_LEN: u32 = 1000;

/// Wait for a device; whoever started us may then start us again.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(120);
/// One attempt, in which a helper that is about to listen is waited for every few milliseconds.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);
/// Between two attempts that were refused.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// Wait for the favour, which nothing depends on.
const LIFT_LIMIT: Duration = Duration::from_secs(2);
