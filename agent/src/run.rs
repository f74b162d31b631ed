//! `tunmesh run`: from the file to a running node, and back.
//!
//! The order is the point. Everything that needs a right (the device, the port) is opened first, on one thread; then all
//! rights are dropped for good; only then the runtime starts and the first byte from the network is read.

mod confinement;
mod device;
mod reload;
mod upkeep;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tunmesh_core::{Core, Now};
use tunmesh_membership::{Identity, KeyIdentity, KeyRing, Membership, Settings};
use tunmesh_mesh::Node;
use tunmesh_protocol::config::Config;
use tunmesh_protocol::{NodeId, SessionKey};
use tunmesh_session::{Endpoint, PrivateKey};
use tunmesh_sys::descriptors;
use tunmesh_sys::memory;
use tunmesh_sys::nft::OwnedTable;
use tunmesh_sys::privileges::confine;
use tunmesh_sys::tun::Tun;
use tunmesh_sys::udp;

use self::device::Opened;
use crate::clock::Clock;
use crate::counters::Counters;
use crate::data::{self, Device, Notices, Relay, Socket};
use crate::incidents::Incidents;
use crate::owner;
use crate::requests::{self, Requests};
use crate::server::{self, ServerState, bind};
use crate::settings::Source;
use crate::shared::{Forwarding, KeySlot, Live, Shared};
use crate::tls::{self, Tls};
use crate::{keys, logging, settings, status};

/// Runs a node until SIGTERM, SIGINT, or something it cannot go on without fails.
///
/// `previous_end` is how the one before it ended, if a supervisor started this one in its place.
pub(crate) fn run(source: &Source, previous_end: Option<&str>) -> anyhow::Result<()> {
    memory::keep_freed();
    let parsed = source.read()?;
    let mut config = parsed.config;
    logging::start(config.logging.level, config.logging.format);
    if let Some(previous_end) = previous_end {
        tracing::warn!(previous_end, "started again by the supervisor");
    }
    for warning in &parsed.warnings {
        tracing::warn!(%warning, "configuration");
    }
    if let Err(error) = descriptors::raise_limit() {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
    let Opened { tun, helper } = device::open(&config, packet_threads(config.networking.data_plane.workers))?;
    if tun.ipv6_skipped() {
        // What this node cannot receive it must not tell others to send.
        config.networking.ipv6 = None;
        tracing::warn!("no IPv6 in the mesh: this host has it off, or networking.mtu is below 1280");
    }
    let live = Live::new(config.clone())?;
    let plane = &config.networking.data_plane;
    let _table = config
        .networking
        .clamp_mss
        .then(|| OwnedTable::clamp_segment_size(tun.name()))
        .transpose()
        .context("failed to make the nft table of networking.clamp_mss")?;
    let api = &config.control_api;
    let listener = bind(api.listen_address, api.listen_port).with_context(|| {
        format!("failed to listen on {}:{} (control_api.listen_port)", api.listen_address, api.listen_port)
    })?;
    let sockets = if plane.paths.udp { open_sockets(&config, &listener, tun.queues().len())? } else { Vec::new() };
    if let Some(helper) = helper {
        device::lift_buffers(helper, &sockets);
    }
    let status = status::bind(tun.name()).context("failed to bind the status socket")?;

    let confined = confine(&confinement::of(&source.path, &config)).context("failed to drop privileges")?;
    tracing::info!(%confined, uid = config.process.uid, "privileges dropped");

    let id = match &live.tls.identity {
        Some(_) => tls::node_id(random()?, config.networking.ipv4.node_address_cidr.address().into()),
        None => NodeId::from_random(random()?),
    };
    let mesh = Node::new(settings::mesh(&config, &id), Instant::now());
    let endpoints = if sockets.is_empty() { Vec::new() } else { endpoints(&config, udp_port(&config, &listener)?) };
    let (owner, requests) = requests::channel();
    let shared = Arc::new(Shared {
        clock: Clock,
        counters: Counters::default(),
        endpoints,
        forwarding: watch::Sender::new(Arc::new(Forwarding { peers: BTreeMap::new(), routes: mesh.routes() })),
        id: id.clone(),
        incidents: Incidents::default(),
        live: ArcSwap::from_pointee(live),
        meetings: AtomicUsize::new(0),
        owner,
        sessions: ArcSwap::default(),
        session_key: KeySlot::empty(),
        started_at: Instant::now(),
    });
    make_key(Arc::clone(&shared), config.clustering.auth.pub_key_size)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_stack_size(STACK_LEN)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(node(shared, Parts { mesh, listener, requests, sockets, source: source.clone(), status, tun }))
}

/// The first of 32 random bytes.
fn random<const LEN: usize>() -> anyhow::Result<[u8; LEN]> {
    let random = keys::random()?;
    Ok(*random.first_chunk().expect("no more than 32 bytes are asked for"))
}

/// What was opened while there were rights.
struct Parts {
    mesh: Node,
    listener: std::net::TcpListener,
    requests: Requests,
    sockets: Vec<Arc<Socket>>,
    source: Source,
    status: status::Listener,
    tun: Tun,
}

async fn node(shared: Arc<Shared>, parts: Parts) -> anyhow::Result<()> {
    let device = Arc::new(Device::new(parts.tun));
    let listener = TcpListener::from_std(parts.listener).context("failed to watch the API port")?;
    let reload = Arc::new(Notify::new());
    // Watched before anybody is told that the node runs: a signal that nobody watches ends the process.
    let watched = |kind| signal(kind).with_context(|| format!("failed to watch for {kind:?}"));
    let hang_up = watched(SignalKind::hangup())?;
    let mut terminate = watched(SignalKind::terminate())?;
    let mut interrupt = watched(SignalKind::interrupt())?;
    tracing::info!(node = %shared.id, device = device.name(), "node started");

    let (notices, noticed) = Notices::channel();
    let socket = parts.sockets.first().cloned();
    let relay = Arc::new(Relay::new(Arc::clone(&shared), Arc::clone(&device), notices.clone(), socket.clone()));
    let state = ServerState { device: Arc::clone(&device), relay, shared: Arc::clone(&shared) };
    let server = tokio::spawn(server::serve(state, listener));
    let core = core(&shared, parts.mesh, socket.is_some(), device.mtu())?;
    let owner = tokio::spawn(owner::run(
        Arc::clone(&shared),
        core,
        socket,
        Arc::clone(&device),
        parts.requests,
        noticed,
        Arc::clone(&reload),
    ));
    let (failed, mut failure) = mpsc::channel(1);
    data::start(&shared, &device, &parts.sockets, &notices, &failed).context("failed to start a packet thread")?;
    let device_due = Arc::new(Notify::new());
    let upkeep = tokio::spawn(upkeep::watch(Arc::clone(&shared), Arc::clone(&device), Arc::clone(&device_due)));
    let watcher = tokio::spawn(reload::watch(Arc::clone(&shared), parts.source, hang_up, reload, device_due));
    let reporter = tokio::spawn(status::serve(Arc::clone(&shared), device, parts.sockets, parts.status));

    // Every one of these tasks runs for as long as the process; the first to end ends it.
    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
        Some(error) = failure.recv() => bail!("the device or the socket failed: {error}"),
        ended = server => bail!("the API server ended: {ended:?}"),
        ended = owner => bail!("the owner of the mesh ended: {ended:?}"),
        ended = upkeep => bail!("the upkeep of the device ended: {ended:?}"),
        ended = watcher => bail!("the reload watcher ended: {ended:?}"),
        ended = reporter => bail!("the status socket failed: {ended:?}"),
    }
    let _stopping = shared.owner.leave().await;
    drain(&shared).await;
    Ok(())
}

/// Lets the packets that were read leave, for as long as a request may take, and closes the streams; what comes in meanwhile is
/// still delivered.
async fn drain(shared: &Shared) {
    let peers: Vec<_> = shared.forwarding.borrow().peers.values().cloned().collect();
    for peer in &peers {
        peer.stream.end();
    }
    let sent = async {
        for peer in &peers {
            peer.queue.emptied().await;
            // Held for reading by every unanswered request.
            let _all_answered = peer.gate.write().await;
            peer.stream.ended().await;
        }
    };
    let _late = tokio::time::timeout(shared.live.load().request_timeout(), sent).await;
}

/// The node with its gossip, sessions and paths; without sockets there is no gossip.
fn core(shared: &Shared, mesh: Node, has_socket: bool, mtu: u32) -> anyhow::Result<Core> {
    let now = Instant::now();
    let private = PrivateKey::generate()?;
    let public_key = *private.public_key().as_bytes();
    let endpoint = Endpoint::new(private, now, keys::random()?);
    let live = shared.live.load();
    let auth = &live.config.clustering.auth;
    let membership = match has_socket {
        false => None,
        true => {
            let made = Membership::new(
                Settings::new(owner::draft(&live.config, &shared.id, public_key, shared.endpoints.clone())),
                KeyRing::new(&auth.secret, &auth.previous_secrets),
                identity(&live.tls)?,
                keys::random()?,
                Now { instant: now, unix: shared.clock.wall() },
            );
            Some(made.context(RECORD_TOO_LONG)?)
        }
    };
    Ok(Core::new(settings::core(&live.config, mtu), mesh, membership, endpoint))
}

/// What signs our record: the key of our certificate where members prove their addresses so, else one made for this run.
fn identity(tls: &Tls) -> anyhow::Result<Box<dyn Identity>> {
    Ok(match &tls.identity {
        Some(identity) => Box::new(identity.clone()),
        None => Box::new(KeyIdentity::new(&keys::random()?).context("failed to make the key that signs our record")?),
    })
}

/// UDP sockets on one port, one per packet thread: the kernel gives every peer to one of them.
fn open_sockets(config: &Config, listener: &std::net::TcpListener, count: usize) -> anyhow::Result<Vec<Arc<Socket>>> {
    let address = SocketAddr::new(config.control_api.listen_address, udp_port(config, listener)?);
    let settings = udp::Settings { reuse_port: count > 1, receive_buffer: SOCKET_BUFFER, send_buffer: SOCKET_BUFFER };
    let open = || -> io::Result<_> { Ok(Arc::new(Socket::new(udp::socket(address, settings)?)?)) };
    (0..count)
        .map(|_| open().with_context(|| format!("failed to bind UDP {address} (networking.data_plane.listen_port)")))
        .collect()
}

/// The UDP port of the file; where that leaves both to the kernel, the number of the TCP port it gave.
fn udp_port(config: &Config, listener: &std::net::TcpListener) -> anyhow::Result<u16> {
    match config.networking.data_plane.listen_port {
        0 => Ok(listener.local_addr().context("failed to ask for the port of the API")?.port()),
        port => Ok(port),
    }
}

/// Where other nodes reach our UDP port.
fn endpoints(config: &Config, port: u16) -> Vec<SocketAddr> {
    let plane = &config.networking.data_plane;
    if !plane.advertise_endpoints.is_empty() {
        return plane.advertise_endpoints.clone();
    }
    let host = config.clustering.control_api_advertise_url.host();
    match (host.trim_matches(['[', ']']), port).to_socket_addrs() {
        Ok(found) => found.take(MAX_ENDPOINTS).collect(),
        Err(error) => {
            tracing::warn!(host, %error, "the host of control_api_advertise_url is not known, so others learn our UDP address from what we send");
            Vec::new()
        }
    }
}

fn packet_threads(configured: Option<NonZeroUsize>) -> usize {
    configured.map_or_else(
        || std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_PACKET_THREADS),
        NonZeroUsize::get,
    )
}

/// Starts making this process's RSA key; sessions wait for it, nothing else does.
fn make_key(shared: Arc<Shared>, bits: u32) -> anyhow::Result<()> {
    let work = move || match SessionKey::generate(bits) {
        Ok(key) => shared.session_key.fill(key),
        Err(error) => {
            tracing::error!(%error, "failed to make the session key");
            std::process::exit(1);
        }
    };
    std::thread::Builder::new().name("session-key".into()).spawn(work).context("failed to start a thread")?;
    Ok(())
}

/// What mostly is too long is a certificate with an RSA key.
const RECORD_TOO_LONG: &str = "what this node says of itself does not fit into a datagram; with \
    clustering.auth.address_certificates use a certificate with an ECDSA P-256 or Ed25519 key";

/// Packet threads unless the file says otherwise: more help only machines that do nothing else.
const MAX_PACKET_THREADS: usize = 4;

/// Addresses taken from a name.
const MAX_ENDPOINTS: usize = 8;

/// Bytes of datagrams the kernel keeps for us, each way: what comes at 5 Gbit/s while a packet thread waits 3 ms for its turn
/// on a busy processor. With less, datagrams are lost then; with more, they only wait longer (docs/architecture.md).
const SOCKET_BUFFER: usize = 2 << 20;

/// Threads of the runtime; a v0 node is bound by one TUN queue and one connection per peer.
const WORKERS: usize = 2;

/// Stack of a thread, in bytes; the deepest call (a TLS handshake) takes far less.
const STACK_LEN: usize = 512 << 10;
