//! One watch per kind: it keeps the store of the kind current and says what to look at again.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::{Stream, StreamExt, pin_mut};
use kube::Resource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, ObjectRef, Store};
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
    K::DynamicType: Clone + Default + Eq + Hash,
{
    let now = store.state();
    let names: HashSet<_> = now.iter().map(|object| reference(&**object)).collect();
    for object in before.iter().filter(|object| !names.contains(&reference(&***object))) {
        tell(Change::Deleted(object));
    }
    now.iter().for_each(|object| tell(Change::Applied(object)));
}

fn reference<K: Lookup>(object: &K) -> ObjectRef<K>
where
    K::DynamicType: Default,
{
    ObjectRef::from(object)
}
