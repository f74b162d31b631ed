use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::runtime::watcher;

use super::workload::Workload;
use crate::layout::HOOK;

/// What Events tell of workloads whose pods were refused because the webhook could not be called.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// By UID of the Event.
    told: HashMap<String, Refusal>,
    /// UIDs of a list that is being read.
    listed: HashSet<String>,
}

#[derive(Debug)]
struct Refusal {
    workload: Workload,
    occurred: Occurred,
    /// How often its controller was asked since, in vain as far as is known.
    tries: u32,
    settled: bool,
}

/// How often, and when last; the time first, so that the newest is the largest.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Occurred {
    last: Timestamp,
    count: i32,
}

impl Refusals {
    /// Takes in what a watch of Events brings.
    pub(super) fn take(&mut self, event: &watcher::Event<Event>) {
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(event) => {
                self.listed.extend(event.metadata.uid.clone());
                self.tell(event);
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.told.retain(|uid, _| listed.contains(uid));
            }
            watcher::Event::Apply(event) => self.tell(event),
            watcher::Event::Delete(event) => {
                event.metadata.uid.as_ref().and_then(|uid| self.told.remove(uid));
            }
        }
    }

    /// Whose controllers to ask: the one first of which it is most likely that its pods are still missing, and not at once
    /// again one that was asked in vain.
    pub(super) fn due(&self) -> Vec<Workload> {
        let mut due = HashMap::<_, (u32, Reverse<Occurred>)>::new();
        for Refusal { workload, occurred, tries, .. } in self.told.values().filter(|refusal| !refusal.settled) {
            let rank = (*tries, Reverse(*occurred));
            due.entry(workload).and_modify(|known| *known = rank.min(*known)).or_insert(rank);
        }
        let mut due: Vec<_> = due.into_iter().collect();
        due.sort_unstable_by_key(|(_, rank)| *rank);
        due.into_iter().map(|(workload, _)| workload.clone()).collect()
    }

    /// Its controller was asked, or was to be, and it is not known that this helped.
    pub(super) fn tried(&mut self, workload: &Workload) {
        for refusal in self.of(workload) {
            refusal.tries = refusal.tries.saturating_add(1);
            refusal.settled = false;
        }
    }

    /// Nothing more is to be done until a pod of it is refused again.
    pub(super) fn settle(&mut self, workload: &Workload) {
        self.of(workload).for_each(|refusal| refusal.settled = true);
    }

    fn of(&mut self, workload: &Workload) -> impl Iterator<Item = &mut Refusal> {
        self.told.values_mut().filter(move |refusal| refusal.workload == *workload)
    }

    fn tell(&mut self, event: &Event) {
        let is_ours =
            event.note.as_ref().is_some_and(|note| note.contains(&format!("failed calling webhook {HOOK:?}")));
        let (true, Some(uid), Some(workload)) = (is_ours, &event.metadata.uid, Workload::of(event)) else { return };
        let Some(occurred) = Occurred::of(event) else { return };
        let known = self.told.get(uid);
        // The same Event comes again whenever the watch is begun anew.
        if known.is_some_and(|known| known.occurred == occurred) || (known.is_none() && self.told.len() >= MAX_KNOWN) {
            return;
        }
        self.told.insert(uid.clone(), Refusal { workload, occurred, tries: 0, settled: false });
    }
}

impl Occurred {
    /// Controllers write Events of the older kind, which have their count in other fields.
    fn of(event: &Event) -> Option<Self> {
        if let Some(series) = &event.series {
            return Some(Self { last: series.last_observed_time.0, count: series.count });
        }
        let older = event.deprecated_last_timestamp.as_ref().map(|time| time.0);
        let last = older.or_else(|| Some(event.event_time.as_ref()?.0))?;
        Some(Self { last, count: event.deprecated_count.unwrap_or(1) })
    }
}

/// Whoever may write Events of a namespace could have us remember any number of them.
const MAX_KNOWN: usize = 10_000;

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event as Seen;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_workload_is_due_until_it_is_settled_and_again_once_a_pod_is_refused_again() {
        let mut refusals = Refusals::default();
        refusals.take(&Seen::Apply(event("1", "web", 3)));
        assert_eq!(names(&refusals), ["web"]);

        settle(&mut refusals, "web");
        refusals.take(&Seen::Apply(event("1", "web", 3)));
        assert_eq!(names(&refusals), [""; 0], "the same Event, seen again");

        refusals.take(&Seen::Apply(event("1", "web", 4)));
        assert_eq!(names(&refusals), ["web"]);
    }

    #[test]
    fn the_newest_refusal_is_first_and_what_was_asked_in_vain_last() {
        let mut refusals = Refusals::default();
        for (uid, name, count) in [("1", "old", 1), ("2", "new", 9), ("3", "old", 2), ("4", "middle", 5)] {
            refusals.take(&Seen::Apply(event(uid, name, count)));
        }
        assert_eq!(names(&refusals), ["new", "middle", "old"]);

        let newest = refusals.due().remove(0);
        refusals.tried(&newest);

        assert_eq!(names(&refusals), ["middle", "old", "new"]);
    }

    #[test]
    fn what_a_new_list_does_not_have_is_forgotten() {
        let mut refusals = Refusals::default();
        let list = |refusals: &mut Refusals, uids: &[&str]| {
            refusals.take(&Seen::Init);
            uids.iter().for_each(|uid| refusals.take(&Seen::InitApply(event(uid, uid, 1))));
            refusals.take(&Seen::InitDone);
        };
        list(&mut refusals, &["a", "b", "c"]);
        settle(&mut refusals, "b");

        list(&mut refusals, &["b", "c"]);
        assert_eq!(names(&refusals), ["c"]);
        refusals.take(&Seen::Delete(event("c", "c", 1)));

        assert_eq!(names(&refusals), [""; 0]);
    }

    #[test]
    fn other_refusals_count_for_nothing() {
        let mut refusals = Refusals::default();
        let other = |field: &str, value: Value| {
            let mut event = serde_json::to_value(event("1", "web", 1)).unwrap();
            *event.pointer_mut(field).unwrap() = value;
            Seen::Apply(serde_json::from_value(event).unwrap())
        };

        for (field, value) in [
            ("/note", json!("Error creating: failed calling webhook \"inject.tunmesh.io.example.org\": refused")),
            (
                "/note",
                json!("Error creating: admission webhook \"inject.tunmesh.io\" denied the request: no such mesh"),
            ),
            ("/regarding/kind", json!("ReplicationController")),
            ("/regarding/apiVersion", json!("apps.example.org/v1")),
        ] {
            refusals.take(&other(field, value));
        }

        assert_eq!(names(&refusals), [""; 0]);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut refusals = Refusals::default();
        for number in 0..=MAX_KNOWN {
            refusals.take(&Seen::Apply(event(&number.to_string(), &number.to_string(), 1)));
        }
        assert_eq!(refusals.due().len(), MAX_KNOWN);
    }

    /// As the controller of a ReplicaSet writes it, for the `count`th time within as many seconds.
    fn event(uid: &str, name: &str, count: i32) -> Event {
        let regarding =
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": format!("of {name}")});
        let note = "Error creating: Internal error occurred: failed calling webhook \"inject.tunmesh.io\": failed to call \
                    webhook: Post \"https://tunmesh-webhook.tunmesh-system.svc:443/mutate?timeout=5s\": dial tcp \
                    10.96.7.7:443: connect: connection refused";
        let event = json!({
            "metadata": {"namespace": "default", "uid": uid}, "eventTime": null, "reason": "FailedCreate",
            "regarding": regarding, "note": note, "deprecatedCount": count,
            "deprecatedLastTimestamp": Timestamp::from_second(1_800_000_000 + i64::from(count)).unwrap().to_string(),
        });
        serde_json::from_value(event).unwrap()
    }

    fn names(refusals: &Refusals) -> Vec<String> {
        refusals.due().into_iter().map(|workload| workload.name).collect()
    }

    fn settle(refusals: &mut Refusals, name: &str) {
        let workload = refusals.due().into_iter().find(|workload| workload.name == name).unwrap();
        refusals.settle(&workload);
    }
}
