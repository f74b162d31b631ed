//! What a pod must not be.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use tunmesh_crds::names::{SECRET_ANNOTATION, SIDECAR, TEMPLATE_ANNOTATION};

use super::refusal::shortened;
use super::{Refusal, volumes};
use crate::layout::{HELPER_AUDIENCE, PORT};

pub(super) fn pod(pod: &Pod) -> Result<(), Refusal> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    if spec.host_network == Some(true) {
        return Err(Refusal::HostNetwork);
    }
    if spec.share_process_namespace == Some(true) {
        return Err(Refusal::ProcessNamespaceShared);
    }
    if spec.os.as_ref().is_some_and(|os| os.name == WINDOWS) {
        return Err(Refusal::Windows { place: "spec.os.name" });
    }
    if spec.node_selector.as_ref().and_then(|labels| labels.get(OS_LABEL)).is_some_and(|os| os == WINDOWS) {
        return Err(Refusal::Windows { place: "spec.nodeSelector[kubernetes.io/os]" });
    }
    if spec.containers.iter().any(|container| container.name == SIDECAR) {
        return Err(Refusal::SidecarDuplicate { place: "spec.containers" });
    }
    others(spec).try_for_each(mounts)?;
    spec.volumes.iter().flatten().try_for_each(token)?;
    let has_sidecar = spec.init_containers.iter().flatten().any(|container| container.name == SIDECAR);
    if has_sidecar { Ok(()) } else { untouched(pod, spec) }
}

/// What the person who makes the pod should know.
pub(super) fn warnings(pod: &Pod) -> Vec<String> {
    let containers = pod.spec.iter().flat_map(others);
    let listening = containers.filter(|container| {
        container
            .ports
            .iter()
            .flatten()
            .any(|port| port.container_port == i32::from(PORT) && port.protocol.as_deref() != Some("SCTP"))
    });
    listening
        .map(|container| {
            let name: String = container.name.chars().take(63).collect();
            format!("container {name} wants port {PORT}, at which the sidecar tunmesh listens: take another port")
        })
        .collect()
}

/// All containers but the sidecar.
fn others(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers).filter(|container| container.name != SIDECAR)
}

fn mounts(container: &Container) -> Result<(), Refusal> {
    let mounted = container.volume_mounts.iter().flatten().map(|mount| &mount.name);
    let mut used = mounted.chain(container.volume_devices.iter().flatten().map(|device| &device.name));
    match used.find(|name| volumes::is_ours(name)) {
        None => Ok(()),
        Some(volume) => Err(Refusal::VolumeMounted { container: shortened(&container.name), volume: volume.clone() }),
    }
}

/// What has this token can ask the helper for the device of the pod.
fn token(volume: &Volume) -> Result<(), Refusal> {
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    let mut tokens = sources.filter_map(|source| source.service_account_token.as_ref());
    if !volumes::is_ours(&volume.name) && tokens.any(|token| token.audience.as_deref() == Some(HELPER_AUDIENCE)) {
        return Err(Refusal::TokenReserved { volume: shortened(&volume.name) });
    }
    Ok(())
}

/// A pod without the sidecar has nothing that comes with it.
fn untouched(pod: &Pod, spec: &PodSpec) -> Result<(), Refusal> {
    let annotations = pod.metadata.annotations.iter().flatten();
    for key in [SECRET_ANNOTATION, TEMPLATE_ANNOTATION] {
        if annotations.clone().any(|(present, _)| present == key) {
            return Err(Refusal::AnnotationReserved { key });
        }
    }
    match spec.volumes.iter().flatten().find(|volume| volumes::is_ours(&volume.name)) {
        None => Ok(()),
        Some(volume) => Err(Refusal::VolumeTaken { volume: volume.name.clone() }),
    }
}

const OS_LABEL: &str = "kubernetes.io/os";
const WINDOWS: &str = "windows";
