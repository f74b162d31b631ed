use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use tunmesh_protocol::ControlUrl;
use tunmesh_protocol::config::Config;

use super::facts::{Certificate, Facts, Probe, Uplink};
use super::{certificate, host};
use crate::logging::chain;
use crate::settings;
use crate::status::{PeerStatus, Status};
use crate::tls::{self, Tls};

/// Where to look.
pub(crate) struct Sources<'a> {
    pub(crate) file: &'a Path,
    /// TUN device of the node; that of the file if not given.
    pub(crate) device: Option<&'a str>,
}

/// Looks at everything once. Takes up to [`CONNECT_LIMIT`] per bootstrap URL and [`NUDGING`] for the paths.
pub(crate) fn gather(sources: &Sources<'_>) -> Facts {
    let config = settings::read(sources.file).map(|parsed| parsed.config);
    let configured = config.as_ref().ok();
    let device = sources.device.or_else(|| configured.map(|config| config.networking.tun_device_id.as_str()));
    let node = Status::ask(device.unwrap_or(DEFAULT_DEVICE)).map_err(|error| format!("{error:#}"));
    let (node, tried) = match node {
        Ok(status) => {
            let (status, tried) = nudge(status);
            (Ok(status), tried)
        }
        Err(error) => (Err(error), BTreeMap::new()),
    };
    let bootstrap = configured.map(bootstrap).unwrap_or_default();
    let routes = host::routes();
    let mut targets: BTreeSet<IpAddr> =
        bootstrap.iter().filter_map(|probe| addresses(&probe.url).next()).map(|to| to.ip()).collect();
    targets.extend(
        node.iter().flat_map(|status| &status.peers).filter_map(|peer| Some(endpoint(peer.endpoint.as_deref()?)?.ip())),
    );
    let uplinks: Vec<Uplink> =
        targets.into_iter().filter_map(|target| host::uplink(target, &routes).ok().flatten()).collect();
    Facts {
        now: now(),
        tls_error: configured.and_then(tls_error),
        certificates: configured.map(certificates).unwrap_or_default(),
        config,
        node,
        tried,
        bootstrap,
        routes,
        uplinks: one_per_device(uplinks),
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Why the files of `control_api.ssl` cannot be used; addresses that the certificate lacks are a finding of their own.
fn tls_error(config: &Config) -> Option<String> {
    let ssl = &config.control_api.ssl;
    let loaded =
        if config.clustering.auth.address_certificates { Tls::load_with_identity(ssl, &[]) } else { Tls::load(ssl) };
    loaded.err().map(|error| chain(&error))
}

/// Our certificate and those that we trust; what cannot be read is a matter of [`Facts::tls_error`].
fn certificates(config: &Config) -> Vec<Certificate> {
    let ssl = &config.control_api.ssl;
    let host = config.clustering.control_api_advertise_url.host();
    let read = |path: &Path| {
        let found = tls::certificates(path).unwrap_or_default();
        found.iter().filter_map(|der| certificate::describe(path, der, host)).collect::<Vec<_>>()
    };
    let mut found = read(&ssl.cert_file_path);
    found.extend(ssl.ca_file_path.iter().flat_map(|path| read(path)));
    found
}

/// Tries to connect to every bootstrap URL that is not our own.
fn bootstrap(config: &Config) -> Vec<Probe> {
    let own = &config.clustering.control_api_advertise_url;
    let urls = config.clustering.bootstrap_groups.values().flat_map(|group| &group.bootstrap_node_urls);
    let urls: BTreeSet<_> = urls.filter(|url| !url.same_place(own)).take(MAX_PROBES).collect();
    // All at once, as each may take the whole limit.
    std::thread::scope(|scope| {
        let tries: Vec<_> = urls.into_iter().map(|url| (url, scope.spawn(|| connect(url)))).collect();
        let ended = |(url, attempt): (&ControlUrl, std::thread::ScopedJoinHandle<'_, Option<String>>)| Probe {
            url: url.clone(),
            error: attempt.join().unwrap_or_else(|_| Some("the attempt broke off".into())),
        };
        tries.into_iter().map(ended).collect()
    })
}

/// Why no connection comes about, if none does.
fn connect(url: &ControlUrl) -> Option<String> {
    let mut error = format!("the name {} has no address", url.host());
    for address in addresses(url) {
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(_) => return None,
            Err(refused) => error = format!("{address}: {refused}"),
        }
    }
    Some(error)
}

fn addresses(url: &ControlUrl) -> impl Iterator<Item = SocketAddr> {
    (url.host(), url.port()).to_socket_addrs().into_iter().flatten()
}

/// Has a packet flow to every peer that takes datagrams, so that its path is what it is in use, and asks again. Returns
/// the answer, and to whom packets flowed and whether any ping was answered.
///
/// The packet is an empty datagram to the discard port (RFC 863), which hosts answer with an ICMP error at most.
fn nudge(first: Status) -> (Status, BTreeMap<String, bool>) {
    let target = |peer: &PeerStatus| -> Option<(String, Ipv4Addr)> {
        Some((peer.node_id.clone(), peer.address.split('/').next()?.parse().ok()?))
    };
    let takers = first.peers.iter().filter(|peer| peer.takes_datagrams);
    let targets: Vec<_> = takers.filter_map(target).take(MAX_NUDGED).collect();
    let (Ok(socket), false) = (UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)), targets.is_empty()) else {
        return (first, BTreeMap::new());
    };
    let started_at = Instant::now();
    let mut last = first.clone();
    while started_at.elapsed() < NUDGING && !is_settled(&first, &last) {
        for (_, address) in &targets {
            let _refused = socket.send_to(&[], (*address, host::DISCARD));
        }
        std::thread::sleep(NUDGE_INTERVAL);
        match Status::ask(&first.device) {
            Ok(status) => last = status,
            Err(_) => break,
        }
    }
    let tried = targets.into_iter().map(|(id, _)| {
        let sent = pings(&last, &id).0.saturating_sub(pings(&first, &id).0);
        let answered = pings(&last, &id).1 > pings(&first, &id).1;
        (id, answered || sent < ENOUGH_PINGS)
    });
    let tried = tried.collect();
    (last, tried)
}

/// Whether every peer that takes datagrams has answered a ping since `first`.
fn is_settled(first: &Status, last: &Status) -> bool {
    let is_settled = |peer: &PeerStatus| peer.path == "udp" && peer.pongs > pings(first, &peer.node_id).1;
    last.peers.iter().filter(|peer| peer.takes_datagrams).all(is_settled)
}

/// Pings sent to a peer and answered by it.
fn pings(status: &Status, id: &str) -> (u64, u64) {
    let peer = status.peers.iter().find(|peer| peer.node_id == id);
    peer.map_or((0, 0), |peer| (peer.pings, peer.pongs))
}

fn endpoint(text: &str) -> Option<SocketAddr> {
    let endpoint: SocketAddr = text.parse().ok()?;
    Some(SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port()))
}

/// One target for each device and MTU is enough to name.
fn one_per_device(mut uplinks: Vec<Uplink>) -> Vec<Uplink> {
    uplinks.sort_by(|a, b| (&a.device, a.mtu).cmp(&(&b.device, b.mtu)));
    uplinks.dedup_by(|a, b| (&a.device, a.mtu) == (&b.device, b.mtu));
    uplinks
}

/// That of a file which names none.
const DEFAULT_DEVICE: &str = "tun1";

/// Wait for one connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Bootstrap URLs that are tried.
const MAX_PROBES: usize = 64;

/// Peers that get a packet.
const MAX_NUDGED: usize = 256;

/// Longer than it takes a path to be given up.
const NUDGING: Duration = Duration::from_secs(4);

/// Unanswered pings in a row that are no accident.
const ENOUGH_PINGS: u64 = 4;

/// Between two packets to a peer.
const NUDGE_INTERVAL: Duration = Duration::from_millis(100);
