use k8s_openapi::api::apps::v1::{DaemonSet, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::events::v1::Event;
use kube::core::{ApiResource, DynamicObject};
use serde_json::{Value, json};
use tunmesh_crds::names::MESH_LABEL;

/// An object whose controller makes pods.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Workload {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// Kinds whose controllers back off.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Kind {
    DaemonSet,
    Job,
    ReplicaSet,
    StatefulSet,
}

/// What to do about a workload of which a pod was refused.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Ask its controller to look, by this merge patch of its status.
    Ask(Value),
    /// Its controller is asked, and has not looked yet.
    Asked,
    /// It has all its pods, wants none, is not the object of the Event, or has nothing to do with us.
    Nothing,
}

impl Workload {
    /// What an Event is about, if it is of a kind that is known here.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let about = event.regarding.as_ref()?;
        let kind = match (about.api_version.as_deref()?, about.kind.as_deref()?) {
            ("apps/v1", "DaemonSet") => Kind::DaemonSet,
            ("apps/v1", "ReplicaSet") => Kind::ReplicaSet,
            ("apps/v1", "StatefulSet") => Kind::StatefulSet,
            ("batch/v1", "Job") => Kind::Job,
            _ => return None,
        };
        // Of the Event's own namespace: who may write Events there cannot point elsewhere.
        let namespace = event.metadata.namespace.clone()?;
        Some(Self { kind, namespace, name: about.name.clone()?, uid: about.uid.clone()? })
    }

    /// What to do, given the object of this name.
    pub(super) fn step(&self, object: &DynamicObject) -> Step {
        let metadata = &object.metadata;
        let is_it = metadata.uid.as_deref() == Some(&self.uid) && metadata.deletion_timestamp.is_none();
        let labels = object.data.pointer("/spec/template/metadata/labels");
        let is_member = labels.is_some_and(|labels| labels.get(MESH_LABEL).is_some());
        if !(is_it && is_member && self.kind.lacks_pods(&object.data)) {
            return Step::Nothing;
        }
        let Some(unseen) = self.kind.unseen(object) else { return Step::Asked };
        // Against the version that was read: if somebody has changed it meanwhile, its controller looks anyway.
        let version = json!({"uid": metadata.uid, "resourceVersion": metadata.resource_version});
        Step::Ask(json!({"metadata": version, "status": unseen}))
    }
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::DaemonSet => "DaemonSet",
            Self::Job => "Job",
            Self::ReplicaSet => "ReplicaSet",
            Self::StatefulSet => "StatefulSet",
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
            Self::Job => ApiResource::erase::<Job>(&()),
            Self::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        }
    }

    /// Whether fewer pods are there than are wanted, as its controller last counted them.
    fn lacks_pods(self, object: &Value) -> bool {
        let number = |path| object.pointer(path).and_then(Value::as_i64);
        let count = |path| number(path).unwrap_or(0);
        match self {
            Self::DaemonSet => count("/status/currentNumberScheduled") < count("/status/desiredNumberScheduled"),
            Self::Job => {
                let parallelism = number("/spec/parallelism").unwrap_or(1);
                let succeeded = count("/status/succeeded");
                let wanted = match number("/spec/completions") {
                    Some(completions) => parallelism.min(completions - succeeded),
                    None if succeeded > 0 => 0,
                    None => parallelism,
                };
                count("/status/active") < wanted && is_worked_on(object)
            }
            Self::ReplicaSet | Self::StatefulSet => count("/status/replicas") < number("/spec/replicas").unwrap_or(1),
        }
    }

    /// The status that says its controller has not looked at it yet; `None` if it says so already.
    fn unseen(self, object: &DynamicObject) -> Option<Value> {
        match self {
            Self::DaemonSet | Self::ReplicaSet | Self::StatefulSet => {
                let observed = object.data.pointer("/status/observedGeneration").and_then(Value::as_i64).unwrap_or(0);
                let before = object.metadata.generation.unwrap_or(0) - 1;
                (before >= 0 && observed > before).then(|| json!({"observedGeneration": before}))
            }
            // It observes no generation. This is a count, and null where none was taken.
            Self::Job => {
                let counted = object.data.pointer("/status/terminating").is_some_and(Value::is_number);
                counted.then(|| json!({"terminating": null}))
            }
        }
    }
}

/// Whether the Job controller of Kubernetes makes pods for this Job, and so corrects its status.
fn is_worked_on(job: &Value) -> bool {
    let is_held = job.pointer("/spec/suspend") == Some(&Value::Bool(true));
    let is_others = job.pointer("/spec/managedBy").is_some_and(|manager| manager != "kubernetes.io/job-controller");
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
    let is_over = conditions.into_iter().flatten().any(|condition| {
        condition["status"] == "True" && (condition["type"] == "Complete" || condition["type"] == "Failed")
    });
    !(is_held || is_others || is_over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_that_its_controller_has_looked_is_taken_back_against_the_version_that_was_read() {
        let short = json!({"observedGeneration": 3, "replicas": 1});
        let none = json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 2, "observedGeneration": 3});
        let counted = json!({"active": 0, "terminating": 0});
        let unseen = json!({"observedGeneration": 2});

        for (kind, status, asked) in [
            (Kind::ReplicaSet, short.clone(), unseen.clone()),
            (Kind::StatefulSet, short, unseen.clone()),
            (Kind::DaemonSet, none, unseen),
            (Kind::Job, counted, json!({"terminating": null})),
        ] {
            let step = workload(kind).step(&object(json!({"replicas": 2}), status));
            let version = json!({"uid": "u", "resourceVersion": "7"});
            assert_eq!(step, Step::Ask(json!({"metadata": version, "status": asked})), "{kind:?}");
        }
    }

    #[test]
    fn a_controller_that_has_not_looked_yet_is_not_asked_again() {
        let behind = json!({"observedGeneration": 2, "replicas": 0});
        let uncounted = json!({"active": 0});

        assert_eq!(workload(Kind::ReplicaSet).step(&object(json!({}), behind)), Step::Asked);
        assert_eq!(workload(Kind::ReplicaSet).step(&object(json!({}), json!({}))), Step::Asked);
        assert_eq!(workload(Kind::Job).step(&object(json!({}), uncounted)), Step::Asked);
    }

    #[test]
    fn what_has_its_pods_is_left_alone() {
        let seen = |status: Value| {
            let mut all = json!({"observedGeneration": 3, "terminating": 0});
            all.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
            all
        };
        for (kind, spec, status) in [
            (Kind::ReplicaSet, json!({}), json!({"replicas": 1})),
            (Kind::StatefulSet, json!({"replicas": 0}), json!({})),
            (Kind::DaemonSet, json!({}), json!({"currentNumberScheduled": 2, "desiredNumberScheduled": 2})),
            (Kind::Job, json!({"parallelism": 2}), json!({"active": 2})),
            (Kind::Job, json!({"parallelism": 2}), json!({"active": 1, "succeeded": 1})),
            (Kind::Job, json!({"parallelism": 2, "completions": 4}), json!({"active": 1, "succeeded": 3})),
            (Kind::Job, json!({"suspend": true}), json!({})),
            (Kind::Job, json!({"managedBy": "example.org/other"}), json!({})),
            (Kind::Job, json!({}), json!({"conditions": [{"type": "Failed", "status": "True"}]})),
        ] {
            let step = workload(kind).step(&object(spec.clone(), seen(status.clone())));
            assert_eq!(step, Step::Nothing, "{kind:?} {spec} {status}");
        }
    }

    #[test]
    fn another_object_of_the_name_and_one_without_the_label_are_left_alone() {
        let short = object(json!({}), json!({"observedGeneration": 3}));
        let ours = workload(Kind::ReplicaSet);
        assert!(matches!(ours.step(&short), Step::Ask(_)));

        let another = Workload { uid: "v".into(), ..ours.clone() };
        let mut plain = short.clone();
        plain.data["spec"]["template"]["metadata"]["labels"] = json!({"app": "plain"});
        let mut ending = short.clone();
        ending.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());

        assert_eq!(another.step(&short), Step::Nothing);
        assert_eq!(ours.step(&plain), Step::Nothing);
        assert_eq!(ours.step(&ending), Step::Nothing);
    }

    fn workload(kind: Kind) -> Workload {
        Workload { kind, namespace: "default".into(), name: "web".into(), uid: "u".into() }
    }

    /// Of the third generation.
    fn object(mut spec: Value, status: Value) -> DynamicObject {
        spec["template"] = json!({"metadata": {"labels": {MESH_LABEL: "home"}}});
        let metadata = json!({"name": "web", "uid": "u", "resourceVersion": "7", "generation": 3});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    }
}
