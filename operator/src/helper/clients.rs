use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::TokenReview;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tunmesh_crds::{TunMesh, TunMeshMember};
use tunmesh_sys::netns::Netns;
use tunmesh_sys::tun::{self, Client as Agent, Hello, Provided, ProvidedSettings, Refusal, TunError};

use super::Settings;
use super::homes::Homes;
use super::identity::{BadToken, Identity, identity, question};
use super::metrics::Metrics;
use super::plan::{NoMember, Plan, mesh_of, plan};
use super::rate_limit::RateLimit;
use super::readiness::{read, watch};
use crate::layout::DEVICE;

/// What serves the agents of all namespaces.
pub(super) struct Service {
    client: Client,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    homes: Arc<Homes>,
}

/// One network namespace, and all that is kept of it.
pub(super) struct Namespace {
    id: u64,
    netns: Arc<Netns>,
    listener: AsyncFd<OwnedFd>,
    limit: Mutex<RateLimit>,
    /// Held while a device is made or changed: two agents at once would make it twice.
    making: tokio::sync::Mutex<()>,
}

/// Why an agent gets no device. What it is told is [`Failure::refusal`].
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the API server did not answer")]
    Api(#[source] kube::Error),
    #[error("there are too many attempts in its network namespace")]
    Busy,
    #[error("the device could not be made")]
    Device(#[source] anyhow::Error),
    #[error("the pod is no member")]
    Member(#[from] NoMember),
    #[error("the {0} does not exist")]
    Missing(&'static str),
    #[error("the pod has its device in another network namespace")]
    OtherNamespace,
    #[error("the API server did not answer in time")]
    Slow,
    #[error("the token proves nothing")]
    Token(#[from] BadToken),
}

impl Failure {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Api(_) | Self::Slow => Refusal::Unavailable,
            Self::Busy => Refusal::Busy,
            Self::Device(_) => Refusal::Device,
            Self::Member(_) | Self::Missing(_) => Refusal::Member,
            Self::OtherNamespace | Self::Token(_) => Refusal::Token,
        }
    }
}

impl Service {
    pub(super) fn new(client: Client, settings: Settings, metrics: Metrics) -> Self {
        Self { client, settings, metrics, homes: Arc::default() }
    }

    /// Forgets the pods of namespaces that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(u64) -> bool) {
        self.homes.retain(is_there);
    }

    /// Decides on a request, and carries it out.
    async fn provide(&self, namespace: &Namespace, hello: &Hello) -> Result<(Identity, Provided), Failure> {
        if !namespace.limit.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            return Err(Failure::Busy);
        }
        let pod = timeout(API_LIMIT, self.identify(&hello.token)).await.map_err(|_| Failure::Slow)??;
        let plan = timeout(API_LIMIT, self.look_up(&pod)).await.map_err(|_| Failure::Slow)??;
        let _turn = namespace.making.lock().await;
        let (homes, netns, id) = (Arc::clone(&self.homes), Arc::clone(&namespace.netns), namespace.id);
        let (uid, queues, max_segments) = (pod.uid.clone(), hello.queues, hello.max_segments);
        // Blocks for a few milliseconds, in threads that are thrown away with the namespace they are in.
        let making = tokio::task::spawn_blocking(move || {
            if !homes.settle(&uid, &plan.pod_addresses, id, &netns) {
                return Err(Failure::OtherNamespace);
            }
            make(&netns, &uid, plan, queues, max_segments).map_err(Failure::Device)
        });
        let made = making.await.map_err(|error| Failure::Device(error.into()))??;
        Ok((pod, made))
    }

    async fn identify(&self, token: &[u8]) -> Result<Identity, Failure> {
        let token = str::from_utf8(token).ok().filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| BadToken::NotAccepted("it is no token".to_owned()))?;
        let reviews = Api::<TokenReview>::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &question(token.to_owned())).await.map_err(Failure::Api)?;
        Ok(identity(&review.status.unwrap_or_default(), &self.settings.node_name)?)
    }

    async fn look_up(&self, pod: &Identity) -> Result<Plan, Failure> {
        let members = Api::<TunMeshMember>::namespaced(self.client.clone(), &pod.namespace);
        let member =
            members.get_opt(&pod.name).await.map_err(Failure::Api)?.ok_or(Failure::Missing("TunMeshMember"))?;
        let (namespace, name) = mesh_of(&member, pod);
        let meshes = Api::<TunMesh>::namespaced(self.client.clone(), namespace);
        let mesh = meshes.get_opt(name).await.map_err(Failure::Api)?.ok_or(Failure::Missing("TunMesh"))?;
        Ok(plan(pod, &member, &mesh)?)
    }
}

impl Namespace {
    pub(super) fn new(id: u64, netns: Netns, listener: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            id,
            netns: Arc::new(netns),
            listener: watch(listener, Interest::READABLE)?,
            limit: Mutex::new(RateLimit::new(Instant::now())),
            making: tokio::sync::Mutex::default(),
        })
    }

    async fn accept(&self) -> io::Result<Agent> {
        read(&self.listener, |listener| Agent::accept(listener.as_fd())).await
    }
}

/// Serves all who connect in one namespace. Dropped, it lets go of the namespace and of everybody in it.
pub(super) async fn serve(service: Arc<Service>, namespace: Namespace) {
    let namespace = Arc::new(namespace);
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = namespace.accept(), if clients.len() < MAX_CLIENTS => match accepted {
                Ok(agent) => {
                    clients.spawn(attend(Arc::clone(&service), Arc::clone(&namespace), agent));
                }
                Err(error) => {
                    // Mostly no descriptors left, which is no reason to stop.
                    tracing::warn!(%error, "failed to accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_ended) = clients.join_next() => {}
        }
    }
}

async fn attend(service: Arc<Service>, namespace: Arc<Namespace>, agent: Agent) {
    let began = Instant::now();
    let peer = agent.peer();
    let Ok(agent) = watch(agent, Interest::READABLE) else { return };
    let hello = match timeout(HELLO_LIMIT, read(&agent, Agent::hello)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            return refuse(&service, &agent, Refusal::Malformed);
        }
        // It went away, or has nothing to say.
        Ok(Err(_)) | Err(_) => return,
    };
    let (pod, provided) = match service.provide(&namespace, &hello).await {
        Ok(provided) => provided,
        Err(failure) => {
            let refusal = failure.refusal();
            // The one refusal that a container can have as often as it likes says nothing in the log.
            if refusal != Refusal::Busy {
                let error = format!("{:#}", anyhow::Error::from(failure));
                tracing::info!(error, uid = peer.uid, namespace = namespace.id, "refused a device");
            }
            return refuse(&service, &agent, refusal);
        }
    };
    drop(hello);
    let (origin, queues) = (provided.origin, provided.queues.len());
    if let Err(error) = agent.get_ref().give(provided) {
        tracing::info!(%error, pod = pod.name, "the agent went away before it had its device");
        return;
    }
    if queues == 0 {
        tracing::info!(pod = pod.name, namespace = pod.namespace, "device brought up to date");
        return;
    }
    let took = began.elapsed();
    service.metrics.handed_over(took);
    tracing::info!(
        pod = pod.name,
        namespace = pod.namespace,
        ?origin,
        queues,
        took_ms = took.as_secs_f64() * 1e3,
        "device handed over"
    );
    // An agent that wants no more closes the connection.
    if let Ok(Ok(lifted)) = timeout(LIFT_LIMIT, read(&agent, |agent| agent.lift_buffers(MAX_BUFFER))).await {
        tracing::debug!(pod = pod.name, lifted, "socket buffers lifted");
    }
}

fn refuse(service: &Service, agent: &AsyncFd<Agent>, reason: Refusal) {
    service.metrics.refused(reason);
    // It may have gone away.
    let _gone = agent.get_ref().refuse(reason);
}

fn make(netns: &Netns, owner: &str, plan: Plan, queues: u16, max_segments: Option<u16>) -> anyhow::Result<Provided> {
    let Plan { addresses, networks, mtu, pod_addresses: _ } = plan;
    let settings = ProvidedSettings {
        name: DEVICE,
        owner,
        addresses,
        networks,
        mtu: u32::from(mtu),
        queue_len: QUEUE_LEN,
        max_segments,
        queues,
    };
    let work = || if queues == 0 { tun::update_provided(&settings) } else { tun::provide(&settings) };
    let made: Result<Provided, TunError> = netns.run(work)?;
    Ok(made?)
}

/// Connections of one namespace that are attended to at once; further ones wait.
const MAX_CLIENTS: usize = 8;
/// Pause after a failed accept, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// An agent says what it wants as soon as it is connected.
const HELLO_LIMIT: Duration = Duration::from_secs(2);
/// Each of two rounds with the API server; an agent waits 5 s for its answer.
const API_LIMIT: Duration = Duration::from_secs(2);
/// An agent that has its device opens its sockets next.
const LIFT_LIMIT: Duration = Duration::from_secs(5);
/// Most bytes of buffer of a socket, each way: memory of the node that the limits of the host would not give away.
const MAX_BUFFER: u32 = 16 << 20;
/// Packets the kernel keeps for an agent that holds back; the agent's own choice where it makes the device itself.
const QUEUE_LEN: u32 = 1000;
