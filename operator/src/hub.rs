//! One watch per kind: it keeps the store of the kind current and says what to look at again.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::{Stream, StreamExt, pin_mut};
use kube::Resource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, Store};
use kube::runtime::watcher::{self, Event};

/// What happened to an object.
pub(crate) enum Change<'a, K> {
    /// It was made or changed, or is met for the first time.
    Applied(&'a K),
    /// It is gone.
    Deleted(&'a K),
}

/// Carries every event of `events` into the store of `writer`, and then to `tell`, so that who is told finds it there.
///
/// What went away while the watch was broken is told as deleted when it is mended.
pub(crate) async fn follow<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    mut writer: Writer<K>,
    mut tell: impl FnMut(Change<'_, K>) + Send,
) where
    K: Resource + Lookup<DynamicType = <K as Resource>::DynamicType> + Clone + Debug + Send + Sync + 'static,
    <K as Resource>::DynamicType: Clone + Debug + Default + Eq + Hash + Send + Sync,
{
    let store = writer.as_reader();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(kind = %<K as Resource>::kind(&Default::default()), %error, "a watch broke; it is tried again");
                continue;
            }
        };
        let before = if matches!(event, Event::InitDone) { store.state() } else { Vec::new() };
        writer.apply_watcher_event(&event);
        match &event {
            Event::Apply(object) => tell(Change::Applied(object)),
            Event::Delete(object) => tell(Change::Deleted(object)),
            Event::InitDone => restarted(&store, before, &mut tell),
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

fn restarted<K>(store: &Store<K>, before: Vec<Arc<K>>, tell: &mut impl FnMut(Change<'_, K>))
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Clone + Eq + Hash,
{
    let now = store.state();
    // Not by name: what was deleted and made again is another object.
    let uids: HashSet<_> = now.iter().map(|object| object.uid()).collect();
    for object in before.iter().filter(|object| !uids.contains(&object.uid())) {
        tell(Change::Deleted(object));
    }
    now.iter().for_each(|object| tell(Change::Applied(object)));
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use k8s_openapi::api::core::v1::Pod;
    use kube::runtime::reflector::store;

    use super::*;

    #[tokio::test]
    async fn what_was_made_again_under_its_name_while_a_watch_was_broken_is_told_as_deleted_and_as_applied() {
        let listed = |uids: &[&str]| {
            let pods = uids.iter().map(|uid| Event::InitApply(pod(uid)));
            [Event::Init].into_iter().chain(pods).chain([Event::InitDone]).collect::<Vec<_>>()
        };
        let events = listed(&["stays", "old"]).into_iter().chain(listed(&["stays", "new"])).map(Ok);
        let mut told = Vec::new();

        let (_, writer) = store();
        let tell = |change: Change<'_, Pod>| {
            told.push(match change {
                Change::Applied(pod) => ("applied", pod.metadata.uid.clone().unwrap()),
                Change::Deleted(pod) => ("deleted", pod.metadata.uid.clone().unwrap()),
            });
        };
        follow(stream::iter(events), writer, tell).await;

        let again = told.split_off(2);
        assert_eq!(again[0], ("deleted", "old".to_owned()));
        let mut applied = again[1..].to_vec();
        applied.sort();
        assert_eq!(applied, [("applied", "new".to_owned()), ("applied", "stays".to_owned())]);
    }

    /// All but the one that stays have one name.
    fn pod(uid: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(if uid == "stays" { "b" } else { "a" }.to_owned());
        pod.metadata.namespace = Some("default".to_owned());
        pod.metadata.uid = Some(uid.to_owned());
        pod
    }
}
