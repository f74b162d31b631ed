//! Whether the sidecar in a pod is the one that the webhook would add.

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use serde::Serialize;
use serde_json::Value;
use tunmesh_crds::names::{SECRET_ANNOTATION, SIDECAR, TEMPLATE_ANNOTATION};

use super::{Refusal, Template, container, is_secret_name, volumes};

/// The Secret of a pod that has the sidecar of `template`; nothing for one without any sidecar.
///
/// Between two calls of the webhook, others may have added to the sidecar, or put another image, resources or container
/// before it; but what it runs, where, and with which rights is as it was.
///
/// # Errors
///
/// [`Refusal::SidecarDuplicate`] if there is a sidecar, but not this one.
pub(super) fn secret_of(pod: &Pod, template: &Template) -> Result<Option<String>, Refusal> {
    let Some(spec) = &pod.spec else { return Ok(None) };
    let mut sidecars = spec.init_containers.iter().flatten().filter(|container| container.name == SIDECAR);
    let Some(present) = sidecars.next() else { return Ok(None) };
    let duplicate = Refusal::SidecarDuplicate { place: "spec.initContainers" };
    let annotation = |key| pod.metadata.annotations.as_ref()?.get(key);
    let secret = annotation(SECRET_ANNOTATION).filter(|name| is_secret_name(name));
    let Some(secret) = secret else { return Err(duplicate) };
    let mut wanted = container::build(template);
    wanted.image = None;
    wanted.resources = Some(ResourceRequirements::default());
    let volumes = spec.volumes.iter().flatten().collect::<Vec<_>>();
    let is_ours = annotation(TEMPLATE_ANNOTATION) == Some(&template.fingerprint())
        && contains(&value(present), &value(&wanted))
        && contains(&value(&volumes), &value(&volumes::build(template.tun, secret)));
    if is_ours { Ok(Some(secret.clone())) } else { Err(duplicate) }
}

fn value(part: &impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

/// Whether `whole` has every field of `part` with its value. A list of objects has them in any order, among others.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|present| contains(present, value)))
        }
        (Value::Array(whole), Value::Array(part)) if part.iter().all(Value::is_object) => {
            part.iter().all(|value| whole.iter().any(|present| contains(present, value)))
        }
        _ => whole == part,
    }
}
