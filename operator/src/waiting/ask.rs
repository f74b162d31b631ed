use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::refusals::Refusals;
use super::workload::{Step, Workload};
use crate::context::Context;
use crate::error::{Category, Error};

/// Asks controllers whose pods were refused to look again, for ever. `calls` changes whenever the webhook is called.
///
/// To be ready is not to be reached: it takes nodes a moment to let the API server through. And an attempt that fails
/// doubles the back-off. So one is asked at a time until the webhook is called, and then all are.
pub(crate) async fn keep(context: Arc<Context>, calls: watch::Receiver<()>) {
    let asker = Asker { context, refusals: Mutex::default(), is_forbidden: AtomicBool::default() };
    futures::join!(asker.follow(), asker.ask(calls));
}

struct Asker {
    context: Arc<Context>,
    refusals: Mutex<Refusals>,
    /// Whether a person was told that a right is missing.
    is_forbidden: AtomicBool,
}

impl Asker {
    /// Keeps what is known of refusals current.
    async fn follow(&self) {
        let config = watcher::Config::default().fields("reason=FailedCreate,type=Warning");
        let events = watcher(Api::<Event>::all(self.context.client.clone()), config).default_backoff();
        let mut events = pin!(events);
        let mut is_told = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    is_told &= matches!(event, watcher::Event::Init);
                    self.refusals().take(&event);
                }
                // It is tried again, and nothing else depends on it.
                Err(error) => {
                    let Some(source) = source(error) else { continue };
                    let error = Error::api("watch Events of refused pods")(source);
                    let (category, cause) = (error.category(), error.cause());
                    self.context.metrics.asked("Event", Some(category));
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(category = category.as_str(), %error, cause, "refused pods wait for their controllers");
                    }
                    if category == Category::Forbidden {
                        sleep(FORBIDDEN).await;
                    }
                }
            }
        }
    }

    async fn ask(&self, mut calls: watch::Receiver<()>) {
        self.context.stores.ready().await;
        let often_until = Instant::now() + EARLY;
        let mut next = Instant::now() + OFTEN;
        loop {
            sleep_until(next).await;
            next = Instant::now() + if next < often_until { OFTEN } else { SELDOM };
            calls.mark_unchanged();
            if let Some(first) = self.ask_one().await
                && timeout_at(next, calls.changed()).await.is_ok_and(|called| called.is_ok())
            {
                self.ask_others(&first).await;
            }
        }
    }

    /// Asks the controller of the first that waits.
    async fn ask_one(&self) -> Option<Workload> {
        let due = self.refusals().due();
        for workload in due.into_iter().take(AT_MOST) {
            match self.step(&workload).await {
                Ok(Step::Ask(_) | Step::Asked) => {
                    self.refusals().tried(&workload);
                    return Some(workload);
                }
                Ok(Step::Nothing) => self.refusals().settle(&workload),
                Err(error) => self.failed(&workload, &error),
            }
        }
        None
    }

    /// Asks those of all others; `served` has its answer.
    async fn ask_others(&self, served: &Workload) {
        self.refusals().settle(served);
        let due = self.refusals().due();
        let mut workloads = 1;
        for some in due.chunks(AT_ONCE) {
            // First, so that what is refused meanwhile counts.
            some.iter().for_each(|workload| self.refusals().settle(workload));
            let steps = join_all(some.iter().map(|workload| self.step(workload))).await;
            for (workload, step) in some.iter().zip(steps) {
                match step {
                    Ok(step) => workloads += u32::from(step != Step::Nothing),
                    Err(error) => self.failed(workload, &error),
                }
            }
            sleep(BETWEEN).await;
        }
        tracing::info!(workloads, "asked controllers to make pods that were refused while the webhook was not reached");
    }

    /// Asks the controller of a workload, if pods of it are missing.
    async fn step(&self, workload: &Workload) -> Result<Step, Error> {
        let Workload { kind, namespace, name, .. } = workload;
        let api: Api<DynamicObject> = Api::namespaced_with(self.context.client.clone(), namespace, &kind.resource());
        let attempt = |verb: &str| Error::api(format!("{verb} the status of {} {namespace}/{name}", kind.as_str()));
        let object = match api.get_status(name).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(Step::Nothing),
            object => object.map_err(attempt("read"))?,
        };
        let step = workload.step(&object);
        if let Step::Ask(patch) = &step {
            match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => return Ok(Step::Asked),
                patched => drop(patched.map_err(attempt("patch"))?),
            }
            self.context.metrics.asked(kind.as_str(), None);
        }
        Ok(step)
    }

    fn failed(&self, workload: &Workload, error: &Error) {
        let (kind, category) = (workload.kind.as_str(), error.category());
        self.context.metrics.asked(kind, Some(category));
        match category {
            Category::Conflict | Category::Trust | Category::Unavailable => self.refusals().tried(workload),
            Category::Forbidden | Category::Refused => self.refusals().settle(workload),
        }
        if category == Category::Forbidden && self.is_forbidden.swap(true, Ordering::Relaxed) {
            return;
        }
        let cause = error.cause();
        tracing::warn!(kind, category = category.as_str(), %error, cause, "failed to ask the controller of a workload");
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the API server, or the way to it, said; `None` if an answer was none of a watch.
fn source(error: watcher::Error) -> Option<kube::Error> {
    match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => Some(source),
        watcher::Error::WatchError(status) => Some(kube::Error::Api(status)),
        watcher::Error::NoResourceVersion => None,
    }
}

/// From readiness on, controllers are asked [`OFTEN`], and then [`SELDOM`].
const EARLY: Duration = Duration::from_secs(30);
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(15);

/// A right that is missing is not there in the next second.
const FORBIDDEN: Duration = Duration::from_secs(60);

/// Workloads at most that are looked at to find one that waits.
const AT_MOST: usize = 100;
/// Workloads that are looked at together, and the time to the next ones: a controller manager makes some 20 pods a second.
const AT_ONCE: usize = 10;
const BETWEEN: Duration = Duration::from_millis(100);
