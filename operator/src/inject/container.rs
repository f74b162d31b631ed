use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, EnvVarSource, ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler,
    ObjectFieldSelector, Probe, ResourceRequirements, SeccompProfile, SecurityContext, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tunmesh_crds::TunMode;
use tunmesh_crds::names::SIDECAR;

use super::{Template, volumes};
use crate::layout::PORT;

/// The sidecar.
pub(super) fn build(template: &Template) -> Container {
    let resources = &template.resources;
    Container {
        name: SIDECAR.to_owned(),
        image: Some(template.image.clone()),
        command: Some(strings(["tunmesh"])),
        args: Some(args(template.tun)),
        env: Some(env(template)),
        lifecycle: Some(lifecycle()),
        // Once up it counts as alive while it listens, even if it is alone.
        liveness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(PORT.into()), ..TCPSocketAction::default() }),
            period_seconds: Some(10),
            failure_threshold: Some(6),
            timeout_seconds: Some(5),
            ..Probe::default()
        }),
        readiness_probe: Some(Probe { period_seconds: Some(5), failure_threshold: Some(3), ..ready() }),
        resources: Some(ResourceRequirements {
            limits: (!resources.limits.is_empty()).then(|| resources.limits.clone()),
            requests: Some(resources.requests.clone()),
            ..ResourceRequirements::default()
        }),
        restart_policy: Some("Always".to_owned()),
        security_context: Some(security_context(template.tun)),
        volume_mounts: Some(volumes::mounts(template.tun)),
        ..Container::default()
    }
}

/// With a supervisor, which starts a killed agent again sooner than the kubelet does; but for an agent that begins with rights
/// and drops them, as its supervisor would keep them.
fn args(tun: TunMode) -> Vec<String> {
    match tun {
        TunMode::HostDevice => strings(["run"]),
        TunMode::NodeHelper => strings(["run", "--supervise"]),
    }
}

/// Those of the mesh, and ours, which nobody else may set.
fn env(template: &Template) -> Vec<EnvVar> {
    let pod_ip = EnvVarSource {
        field_ref: Some(ObjectFieldSelector {
            field_path: "status.podIP".to_owned(),
            ..ObjectFieldSelector::default()
        }),
        ..EnvVarSource::default()
    };
    let ours = [
        EnvVar {
            name: "TUNMESH_CONFIG_PATH".to_owned(),
            value: Some("/etc/tunmesh/config.yaml".to_owned()),
            ..EnvVar::default()
        },
        EnvVar { name: "TUNMESH_ADVERTISE_ADDRESS".to_owned(), value_from: Some(pod_ip), ..EnvVar::default() },
    ];
    let theirs = template.env.iter().filter(|variable| !ours.iter().any(|own| own.name == variable.name));
    let theirs = theirs.map(|variable| EnvVar {
        name: variable.name.clone(),
        value: Some(variable.value.clone()),
        ..EnvVar::default()
    });
    theirs.chain(ours.iter().cloned()).collect()
}

/// The next container starts when this command has ended: when the mesh is there. A startup probe would do the same, but the
/// kubelet asks once a second: each pod would start about a second later (docs/architecture.md).
fn lifecycle() -> Lifecycle {
    let command = strings(["tunmesh", "ready", "--wait", "60s"]);
    let exec = ExecAction { command: Some(command) };
    Lifecycle {
        post_start: Some(LifecycleHandler { exec: Some(exec), ..LifecycleHandler::default() }),
        ..Lifecycle::default()
    }
}

fn ready() -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/ready".to_owned()),
            port: IntOrString::Int(PORT.into()),
            scheme: Some("HTTPS".to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(1),
        ..Probe::default()
    }
}

/// What PodSecurity `restricted` asks for; to make the device itself, the sidecar needs root, one capability for
/// that, and three to become another user and let go of all of them.
fn security_context(tun: TunMode) -> SecurityContext {
    let (user, add) = match tun {
        TunMode::HostDevice => (0, Some(strings(["NET_ADMIN", "SETGID", "SETPCAP", "SETUID"]))),
        TunMode::NodeHelper => (USER, None),
    };
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add, drop: Some(strings(["ALL"])) }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(user),
        run_as_non_root: Some(user != 0),
        run_as_user: Some(user),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
        ..SecurityContext::default()
    }
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

/// "nonroot" of common base images.
const USER: i64 = 65_532;
