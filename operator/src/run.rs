//! The operator at work: watches, queues, reconcilers, webhook, metrics.
//!
//! ```text
//! watch of a kind -> its store -> routes: whom does this concern? -> queue of a kind -> reconcile -> API server
//! ```

mod directory;
mod queues;
mod routes;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{Store, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use prometheus::Registry;
use tokio::sync::watch;
use tunmesh_crds::names::MESH_LABEL;
use tunmesh_crds::{TunMesh, TunMeshAddress, TunMeshMember};

use crate::context::{Context, Settings, Stores};
use crate::error::{Category, Error};
use crate::hub::follow;
use crate::metrics::Metrics;
use crate::{claims, member, mesh, serve, waiting, webhook};

use queues::{Queues, Work};

/// How an operator is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it does.
    pub settings: Settings,
    /// Where the API server calls it; no webhook if `None`.
    pub webhook: Option<SocketAddr>,
    /// Where `/metrics`, `/healthz` and `/readyz` are.
    pub metrics: SocketAddr,
}

/// Runs an operator until `shutdown` is true.
///
/// # Errors
///
/// A port is taken, or the API server cannot be reached at the start.
pub async fn run(client: Client, options: Options, mut shutdown: watch::Receiver<bool>) -> anyhow::Result<()> {
    let registry = Registry::new();
    let metrics = Metrics::new(&registry).context("failed to register metrics")?;
    let reporter = Reporter { controller: "tunmesh.io/operator".to_owned(), instance: None };
    let recorder = Recorder::new(client.clone(), reporter);
    let (queues, works) = queues::all(&metrics);
    let (watches, stores, routes) = watches(&client, queues);
    let ready = stores.ready();
    let settings = options.settings.clone();
    let context = Arc::new(Context::new(client.clone(), settings, stores, metrics, recorder));
    let stores = &context.stores;
    let looking = mesh::keep_looking(context.clone(), move |mesh| routes.looked_at(mesh));
    let (called, calls) = watch::channel(());
    let directory = Arc::new(directory::Cached::new(context.clone(), called));
    let mut parts: Vec<BoxFuture<'static, anyhow::Result<()>>> = vec![
        watches.map(Ok).boxed(),
        looking.map(Ok).boxed(),
        serve::metrics(options.metrics, registry.clone(), ready).await?.boxed(),
        control(works.meshes, &stores.meshes, mesh::reconcile, &context),
        control(works.claims, &stores.claims, claims::reconcile, &context),
        control(works.members, &stores.members, member::reconcile, &context),
        control(works.pods, &stores.pods, member::reconcile_pod, &context),
    ];
    if options.webhook.is_some() {
        parts.push(waiting::keep_asking(context.clone(), calls).map(Ok).boxed());
    }
    let stopped = shutdown.clone();
    let mut serving = match options.webhook {
        Some(address) => {
            let Settings { namespace, defaults, .. } = options.settings;
            let serving = webhook::serve(address, client, namespace, directory, defaults, registry, shutdown.clone());
            serving.map(|served| served.context("the webhook ended")).boxed()
        }
        None => async move {
            let mut stopped = stopped;
            let _ended = stopped.wait_for(|stop| *stop).await;
            Ok(())
        }
        .boxed(),
    };
    let working = futures::future::select_all(parts);
    tokio::select! {
        (ended, _, _) = working => return ended,
        // Told to stop like the others, it first answers what it was asked.
        ended = &mut serving => return ended,
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
    serving.await
}

/// One watch per kind; what is watched, and no more of it than is used, is in the stores.
fn watches(
    client: &Client,
    queues: Queues,
) -> (impl Future<Output = ()> + Send + 'static, Stores, Arc<routes::Routes>) {
    let config = watcher::Config::default;
    let (meshes, meshes_writer) = store::<TunMesh>();
    let (members, members_writer) = store::<TunMeshMember>();
    let (claims, claims_writer) = store::<TunMeshAddress>();
    let (pods, pods_writer) = store::<Pod>();
    let (namespaces, namespaces_writer) = store::<PartialObjectMeta<Namespace>>();
    let stores = Stores { meshes, members, claims, pods, namespaces };
    let routes = Arc::new(routes::Routes::new(queues, &stores));
    let [a, b, c, d] = [(); 4].map(|()| routes.clone());
    let all = {
        let meshes = watcher(Api::<TunMesh>::all(client.clone()), config()).default_backoff();
        let members = watcher(Api::<TunMeshMember>::all(client.clone()), config())
            .default_backoff()
            .modify(prune::<TunMeshMember>);
        let claims = watcher(Api::<TunMeshAddress>::all(client.clone()), config())
            .default_backoff()
            .modify(prune::<TunMeshAddress>);
        let pods =
            watcher(Api::<Pod>::all(client.clone()), config().labels(MESH_LABEL)).default_backoff().modify(prune_pod);
        let namespaces = watcher(Api::<PartialObjectMeta<Namespace>>::all(client.clone()), config())
            .default_backoff()
            .modify(prune::<PartialObjectMeta<Namespace>>);
        async move {
            futures::join!(
                follow(meshes, meshes_writer, move |change| a.mesh(&change)),
                follow(members, members_writer, move |change| b.member(&change)),
                follow(claims, claims_writer, move |change| c.claim(&change)),
                follow(pods, pods_writer, move |change| d.pod(&change)),
                follow(namespaces, namespaces_writer, |_| ()),
            );
        }
    };
    (all, stores, routes)
}

fn prune<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// Of a pod, its containers are most of the bytes and none of our business.
fn prune_pod(pod: &mut Pod) {
    prune(pod);
    if let Some(spec) = &mut pod.spec {
        let node_name = spec.node_name.take();
        *spec = k8s_openapi::api::core::v1::PodSpec { node_name, ..Default::default() };
    }
    if let Some(status) = &mut pod.status {
        status.container_statuses = None;
    }
}

/// Carries out what is in a queue, some at once, each object once at a time.
fn control<K, Reconcile, Done>(
    work: Work<K>,
    store: &Store<K>,
    reconcile: Reconcile,
    context: &Arc<Context>,
) -> BoxFuture<'static, anyhow::Result<()>>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    Reconcile: Fn(Arc<K>, Arc<Context>) -> Done + Clone + Send + Sync + 'static,
    Done: Future<Output = Result<Action, Error>> + Send + 'static,
{
    let Work { objects, waiting } = work;
    let (begins, gone) = (waiting.clone(), waiting);
    let timed = move |object: Arc<K>, context: Arc<Context>| {
        let reconcile = reconcile.clone();
        let meta = object.meta();
        begins.leave(meta.namespace.clone(), meta.name.clone().unwrap_or_default());
        async move {
            let begun = Instant::now();
            let done = reconcile(object, context.clone()).await;
            context.metrics.reconciled(&K::kind(&()), begun.elapsed(), done.as_ref().err().map(Error::category));
            done
        }
        .boxed()
    };
    let failed = move |object: Arc<K>, error: &Error, _: Arc<Context>| {
        let name = object.meta().name.as_deref().unwrap_or_default();
        let (kind, category) = (K::kind(&()), error.category());
        let cause = error.cause();
        if category == Category::Conflict {
            tracing::debug!(%kind, name, %error, cause, "another writer was faster");
        } else {
            tracing::warn!(%kind, name, category = category.as_str(), %error, cause, "failed; it is tried again");
        }
        Action::requeue(again(category))
    };
    let config = controller::Config::default().concurrency(AT_ONCE);
    let queue = objects.map(Ok::<_, std::convert::Infallible>);
    let applied = controller::applier(timed, failed, context.clone(), store.clone(), queue, config);
    // Outcomes are counted and logged where they happen; an object that is gone meanwhile is no fault.
    let count = move |outcome| {
        if let Err(controller::Error::ObjectNotFound(object)) = outcome {
            gone.leave(object.namespace, object.name);
        }
        futures::future::ready(())
    };
    let ready = context.stores.ready();
    async move {
        // What is decided depends on all stores: a mesh whose pods are not known yet has none.
        ready.await;
        applied.for_each(count).await;
        Ok(())
    }
    .boxed()
}

const fn again(category: Category) -> Duration {
    match category {
        Category::Conflict => Duration::from_millis(50),
        Category::Unavailable => Duration::from_secs(1),
        Category::Forbidden | Category::Refused | Category::Trust => Duration::from_secs(15),
    }
}

/// Objects of one kind that are worked on at once: mostly waiting for the API server.
const AT_ONCE: u16 = 32;
