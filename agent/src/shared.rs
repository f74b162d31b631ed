//! What every task of a running agent may read. The mesh core itself is not here: its owner is `owner.rs`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tunmesh_mesh::RouteTable;
use tunmesh_protocol::config::Config;
use tunmesh_protocol::{NodeId, SessionKey, Token, Windows};

use crate::clock::Clock;
use crate::counters::Counters;
use crate::data::Inbound;
use crate::incidents::Incidents;
use crate::peers::Peer;
use crate::requests::OwnerHandle;
use crate::settings;
use crate::tls::{Tls, TlsError};
use crate::wireguard;

/// The running agent.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) counters: Counters,
    /// Where this node takes datagrams, as others reach it; none if it does not.
    pub(crate) endpoints: Vec<SocketAddr>,
    /// Where packets go; replaced as a whole by the owner.
    pub(crate) forwarding: watch::Sender<Arc<Forwarding>>,
    pub(crate) id: NodeId,
    /// What nodes refused each other lately.
    pub(crate) incidents: Incidents,
    pub(crate) live: ArcSwap<Live>,
    /// Nodes we are registering at right now for the first time; see [`Shared::peer_soon`].
    pub(crate) meetings: AtomicUsize,
    pub(crate) owner: OwnerHandle,
    /// Sessions in which peers seal to us, by our receiver index; replaced as a whole by the owner.
    pub(crate) sessions: ArcSwap<Sessions>,
    pub(crate) session_key: KeySlot,
    pub(crate) started_at: Instant,
}

/// Sessions by the receiver index that stands in datagrams to us.
pub(crate) type Sessions = HashMap<u32, Arc<Inbound>>;

/// Routes of one moment, and the members and devices they lead to.
pub(crate) struct Forwarding {
    pub(crate) peers: BTreeMap<NodeId, Arc<Peer>>,
    pub(crate) routes: Arc<RouteTable>,
}

impl Forwarding {
    /// The member with this id; a device has no part in the control protocol.
    fn member(&self, id: &NodeId) -> Option<Arc<Peer>> {
        self.peers.get(id).filter(|peer| peer.name.is_none()).cloned()
    }
}

impl Shared {
    /// The member with this id.
    pub(crate) fn peer(&self, id: &NodeId) -> Option<Arc<Peer>> {
        self.forwarding.borrow().member(id)
    }

    /// The member with this id, or one we are about to know.
    ///
    /// A node that took our registration may open its session before its answer has reached us; while a first
    /// registration is unanswered, an unknown id gets [`SETTLE_LIMIT`] to become a member.
    pub(crate) async fn peer_soon(&self, id: &NodeId) -> Option<Arc<Peer>> {
        let known = self.peer(id);
        if known.is_some() || self.meetings.load(Relaxed) == 0 {
            return known;
        }
        let mut forwarding = self.forwarding.subscribe();
        let settled = forwarding.wait_for(|now| now.member(id).is_some());
        tokio::time::timeout(SETTLE_LIMIT, settled).await.ok()?.ok()?.member(id)
    }
}

/// What the configuration file says, in the form its readers use. Replaced as a whole on reload.
pub(crate) struct Live {
    pub(crate) cluster: ClusterTokens,
    pub(crate) config: Config,
    pub(crate) tls: Tls,
    pub(crate) windows: Windows,
    /// Keys towards our WireGuard devices, one set per cluster secret in force, newest first.
    pub(crate) wireguard: Vec<wireguard::Keys>,
}

impl Live {
    /// Prepares `config`; reads certificate and key.
    pub(crate) fn new(config: Config) -> Result<Self, TlsError> {
        let auth = &config.clustering.auth;
        let cluster = ClusterTokens {
            current: Token::cluster(&auth.secret),
            previous: auth.previous_secrets.iter().map(Token::cluster).collect(),
        };
        let windows = Windows {
            early: config.process.timing.auth.early_validity_window,
            validity: config.process.timing.auth.validity_window,
        };
        let ssl = &config.control_api.ssl;
        let tls = if auth.address_certificates {
            Tls::load_with_identity(ssl, &settings::addresses(&config.networking))?
        } else {
            Tls::load(ssl)?
        };
        let tls = if config.networking.data_plane.paths.stream { tls.with_streams() } else { tls };
        let wireguard = wireguard::Keys::of(&config)?;
        Ok(Self { cluster, tls, windows, wireguard, config })
    }

    /// Bounds connecting and answering of every request, each.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.config.process.timing.request_timeout
    }

    /// Age at which a session is refused, as the original: `session_max_age` + `validity_window`.
    pub(crate) fn session_refused_after(&self) -> Duration {
        self.config.process.timing.auth.session_max_age + Duration::from_secs_f64(self.windows.validity.seconds)
    }
}

/// The cluster secrets as tokens.
pub(crate) struct ClusterTokens {
    current: Token,
    previous: Vec<Token>,
}

impl ClusterTokens {
    /// The token we sign with.
    pub(crate) fn signing(&self) -> &Token {
        &self.current
    }

    /// The tokens a peer may sign with, newest first.
    pub(crate) fn accepted(&self) -> Vec<&Token> {
        std::iter::once(&self.current).chain(&self.previous).collect()
    }
}

/// This process's RSA key, made in the background at start because it takes 20 to 120 ms.
pub(crate) struct KeySlot(watch::Sender<Option<Arc<SessionKey>>>);

impl KeySlot {
    pub(crate) fn empty() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn fill(&self, key: SessionKey) {
        self.0.send_replace(Some(Arc::new(key)));
    }

    pub(crate) async fn wait(&self) -> Arc<SessionKey> {
        let mut receiver = self.0.subscribe();
        let ready = receiver.wait_for(Option::is_some).await.expect("the sender is part of self").clone();
        ready.expect("waited for")
    }
}

/// Longest wait for a member whose first registration is under way; a round trip, generously.
const SETTLE_LIMIT: Duration = Duration::from_millis(300);
