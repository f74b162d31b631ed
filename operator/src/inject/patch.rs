use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use serde_json::{Value, json};
use tunmesh_crds::names::{SECRET_ANNOTATION, TEMPLATE_ANNOTATION};

use super::{Template, container, volumes};

/// Adds annotations, volumes and the sidecar, and touches nothing else: what a pod has that we do not know stays.
pub(super) fn add(pod: &Pod, template: &Template, secret_name: &str) -> Patch {
    let mut patch = Vec::new();
    let annotations = [(SECRET_ANNOTATION, secret_name), (TEMPLATE_ANNOTATION, &template.fingerprint())];
    if pod.metadata.annotations.as_ref().is_none_or(|present| present.is_empty()) {
        patch.push(operation(&["metadata", "annotations"], json!({})));
    }
    for (key, value) in annotations {
        patch.push(operation(&["metadata", "annotations", key], value.into()));
    }
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.volumes.as_ref()).is_none_or(Vec::is_empty) {
        patch.push(operation(&["spec", "volumes"], json!([])));
    }
    for volume in volumes::build(template.tun, secret_name) {
        patch.push(operation(&["spec", "volumes", "-"], value(&volume)));
    }
    if spec.and_then(|spec| spec.init_containers.as_ref()).is_none_or(Vec::is_empty) {
        patch.push(operation(&["spec", "initContainers"], json!([])));
    }
    patch.push(operation(&["spec", "initContainers", "0"], value(&container::build(template))));
    Patch(patch)
}

fn operation(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

fn value(part: &impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}
