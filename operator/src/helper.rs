//! The node helper: makes TUN devices in the network namespaces of pods, and hands their queues to agents that have no right
//! to make them.
//!
//! ```text
//! mount of a namespace -> listener inside it -> HELLO with a token -> TokenReview: which pod, on this node?
//!   -> TunMeshMember of that name and UID: which addresses? -> TunMesh: which networks, which MTU?
//!   -> device in the namespace -> its queues to the agent, no copy kept
//! ```
//!
//! An agent that runs asks in the same way, for no queue, when its file says that networks or MTU changed; the device is then
//! brought to what the objects say at that moment.
//!
//! Whoever connects may be any container of the pod, as any user: only the token counts, which the sidecar alone has mounted.
//! A namespace that is unmounted is let go at once, as a listener in it would keep it, and its devices, alive. What was
//! handed over needs no helper any more.

mod clients;
mod homes;
mod identity;
mod metrics;
mod mounts;
mod plan;
mod rate_limit;
mod readiness;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tunmesh_sys::netns::{Netns, NetnsError};
use tunmesh_sys::tun;

use self::clients::{Namespace, Service};
use self::metrics::Metrics;
use self::mounts::Mounts;
use crate::layout::HELPER_SOCKET;

/// How a node helper is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node it runs on: a pod of another one is refused.
    pub node_name: String,
    /// Where the container runtime mounts the network namespaces of pods, such as `/run/netns`.
    pub netns_dir: PathBuf,
}

/// Why a node helper ended.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The registry has metrics of these names already.
    #[error("failed to register metrics")]
    Metrics(#[from] prometheus::Error),
    /// The mounts of this process cannot be watched.
    #[error("failed to watch /proc/self/mountinfo")]
    Mounts(#[source] io::Error),
    /// Its own network namespace is not known, so it could be taken for a pod's.
    #[error("failed to find the own network namespace")]
    Own(#[source] NetnsError),
}

/// Serves the agents of this node until `shutdown` is true, or its sender is gone.
///
/// Needs root with `CAP_SYS_ADMIN` (to enter the namespaces) and `CAP_NET_ADMIN` (to make devices there), `/dev/net/tun`, and
/// `netns_dir` with the mounts that come after its start; of the API `create tokenreviews` and `get` of `tunmeshmembers` and
/// `tunmeshes`. Agents that have their device go on when this ends.
///
/// # Errors
///
/// Only at the start. What fails later is logged, counted, and told to the agent, which asks again.
pub async fn run(
    client: Client,
    settings: Settings,
    registry: &Registry,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), HelperError> {
    let metrics = Metrics::new(registry)?;
    let mut mounts = Mounts::watch().map_err(HelperError::Mounts)?;
    let own = Netns::current().and_then(|own| own.id()).map_err(HelperError::Own)?;
    let mut served = Served { service: Arc::new(Service::new(client, settings, metrics)), own, known: HashMap::new() };
    loop {
        served.refresh();
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
            () = mounts.changed() => {}
            () = sleep(REFRESH) => {}
        }
    }
}

/// The network namespaces there are, by their ids.
struct Served {
    service: Arc<Service>,
    own: u64,
    known: HashMap<u64, State>,
}

enum State {
    /// It is not a pod's.
    Foreign,
    /// There is no listener in it yet; what was said of it last.
    Failed(String),
    /// The one task that owns all we have of it; dropped, it ends.
    Served { _task: JoinSet<()> },
}

impl Served {
    /// Takes up the namespaces that are new, and lets go of those that are gone.
    fn refresh(&mut self) {
        let found = match mounts::namespaces(&self.service.settings.netns_dir) {
            Ok(found) => found,
            Err(error) => {
                // Those we have are kept: nothing says that they are gone.
                tracing::warn!(%error, folder = %self.service.settings.netns_dir.display(), "failed to list network namespaces");
                return;
            }
        };
        self.known.retain(|id, _| found.contains_key(id));
        self.service.retain(|id| found.contains_key(&id));
        self.take_up(found);
        let listening = self.known.values().filter(|state| matches!(state, State::Served { .. })).count();
        self.service.metrics.listening(listening);
    }

    fn take_up(&mut self, found: BTreeMap<u64, Netns>) {
        for (id, netns) in found {
            let before = match self.known.get(&id) {
                Some(State::Foreign | State::Served { .. }) => continue,
                Some(State::Failed(text)) => Some(text.clone()),
                None => None,
            };
            let state = match self.listen(id, netns) {
                Ok(state) => state,
                Err(error) => {
                    let text = format!("{error:#}");
                    if before.as_ref() != Some(&text) {
                        tracing::warn!(
                            error = text,
                            namespace = id,
                            "failed to listen in a network namespace; trying again"
                        );
                    }
                    State::Failed(text)
                }
            };
            self.known.insert(id, state);
        }
    }

    fn listen(&self, id: u64, netns: Netns) -> anyhow::Result<State> {
        if id == self.own {
            return Ok(State::Foreign);
        }
        let Some(listener) = netns.run(|| (!Netns::is_hosts()).then(|| tun::listen(HELPER_SOCKET)))?.transpose()?
        else {
            return Ok(State::Foreign);
        };
        let namespace = Namespace::new(id, netns, listener)?;
        let mut task = JoinSet::new();
        task.spawn(clients::serve(self.service.clone(), namespace));
        Ok(State::Served { _task: task })
    }
}

/// Between two looks for namespaces that no change of the mounts announced, and for listeners that could not be made: while
/// a helper of an older version still has the name, or somebody else does.
const REFRESH: Duration = Duration::from_secs(1);
