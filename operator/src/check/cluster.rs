use std::collections::BTreeSet;

use kube::ResourceExt;
use tunmesh_crds::TunMesh;

use super::{Facts, Found, Level};
use crate::layout;
use crate::member::PodFacts;

pub(super) fn definitions(facts: &Facts) -> Vec<Found> {
    let found = |kind: &&str| {
        Found::new(
            Level::Error,
            format!("{kind} of tunmesh.io/v1alpha1"),
            "its CustomResourceDefinition is missing, or of another version",
            "kubectl apply -f crds/yaml",
        )
    };
    facts.missing_kinds.iter().map(found).collect()
}

pub(super) fn webhook(facts: &Facts) -> Vec<Found> {
    let name = layout::WEBHOOK;
    let Some(configuration) = &facts.webhook else {
        return vec![Found::new(
            Level::Error,
            format!("there is no MutatingWebhookConfiguration {name}"),
            "the operator is not installed as a whole: pods with the label get no sidecar",
            "apply the manifests of the operator again, then restart pods that have the label",
        )];
    };
    let hooks = configuration.webhooks.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    if !hooks.iter().any(|hook| hook.client_config.ca_bundle.is_some()) {
        found.push(Found::new(
            Level::Error,
            format!("MutatingWebhookConfiguration {name} has no caBundle"),
            "no operator has written it: it does not run, or lacks the right; pods with the label cannot be made",
            format!("kubectl -n {} logs deployment/tunmesh-operator", facts.namespace),
        ));
    }
    if let Some(hook) = hooks.iter().find(|hook| hook.failure_policy.as_deref() != Some("Fail")) {
        found.push(Found::new(
            Level::Warning,
            format!("webhook {} has failurePolicy {}", hook.name, hook.failure_policy.as_deref().unwrap_or("Fail")),
            "while the operator is away, pods with the label start without sidecar and outside of the mesh",
            "set failurePolicy to Fail",
        ));
    }
    found
}

pub(super) fn operator(facts: &Facts) -> Vec<Found> {
    let (all, ready) = facts.operators;
    if ready > 0 {
        return Vec::new();
    }
    vec![Found::new(
        Level::Error,
        format!("{ready} of {all} operator pods in namespace {} are ready", facts.namespace),
        "the operator does not run there, or cannot reach the API server",
        format!("kubectl -n {} describe pods -l {}", facts.namespace, layout::OPERATOR_PODS),
    )]
}

/// Only nodes where a pod waits: one without members needs no helper.
pub(super) fn helpers(facts: &Facts) -> Vec<Found> {
    let mesh_of = |pod: &PodFacts| {
        let is_its =
            |mesh: &&TunMesh| (mesh.namespace().as_ref(), mesh.name_any()) == (Some(&pod.mesh.0), pod.mesh.1.clone());
        facts.meshes.iter().find(is_its)
    };
    let asks = |pod: &&PodFacts| mesh_of(pod).is_none_or(|mesh| pod.uses_helper(mesh));
    let waiting = facts.pods.iter().filter(|pod| !pod.over && !pod.ready && pod.secret.is_some()).filter(asks);
    let nodes: BTreeSet<_> = waiting.filter_map(|pod| pod.node.as_ref()).collect();
    let found = |node: &&String| {
        Found::new(
            Level::Error,
            format!("node {node} has pods that wait for a device, and no helper that is ready"),
            "the DaemonSet of the node helper does not run there: a taint, a quota, a failing pod",
            format!(
                "kubectl -n {} get pods -l {} --field-selector spec.nodeName={node}",
                facts.namespace,
                layout::HELPER_PODS
            ),
        )
    };
    nodes.iter().filter(|node| !facts.helpers.contains(**node)).map(found).collect()
}
