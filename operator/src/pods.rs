//! What is asked of pods of any kind.

use k8s_openapi::api::core::v1::Pod;

/// Whether the kubelet calls it ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
