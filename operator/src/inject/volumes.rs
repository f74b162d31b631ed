use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, HostPathVolumeSource, ProjectedVolumeSource, SecretVolumeSource,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tunmesh_crds::TunMode;

use crate::layout::HELPER_AUDIENCE;

/// The volumes of the sidecar, the Secret first.
pub(super) fn build(tun: TunMode, secret_name: &str) -> Vec<Volume> {
    let secret = SecretVolumeSource {
        secret_name: Some(secret_name.to_owned()),
        default_mode: Some(READABLE),
        ..SecretVolumeSource::default()
    };
    let run =
        EmptyDirVolumeSource { medium: Some("Memory".to_owned()), size_limit: Some(Quantity(RUN_SIZE.to_owned())) };
    let device = match tun {
        TunMode::HostDevice => Volume {
            name: DEVICE.to_owned(),
            host_path: Some(HostPathVolumeSource {
                path: DEVICE_PATH.to_owned(),
                type_: Some("CharDevice".to_owned()),
            }),
            ..Volume::default()
        },
        TunMode::NodeHelper => Volume { name: TOKEN.to_owned(), projected: Some(token()), ..Volume::default() },
    };
    vec![
        Volume { name: SECRET.to_owned(), secret: Some(secret), ..Volume::default() },
        Volume { name: RUN.to_owned(), empty_dir: Some(run), ..Volume::default() },
        device,
    ]
}

/// Where the sidecar mounts them.
pub(super) fn mounts(tun: TunMode) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        // As the API server writes it.
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    vec![
        mount(SECRET, SECRET_PATH, true),
        mount(RUN, RUN_PATH, false),
        match tun {
            TunMode::HostDevice => mount(DEVICE, DEVICE_PATH, false),
            TunMode::NodeHelper => mount(TOKEN, TOKEN_PATH, true),
        },
        // Where something is mounted, the API server mounts no token of the pod's own account.
        mount(RUN, ACCOUNT_PATH, true),
    ]
}

/// Whether a volume of this name is the sidecar's, in either mode.
pub(super) fn is_ours(name: &str) -> bool {
    [SECRET, RUN, DEVICE, TOKEN].contains(&name)
}

/// The token by which the helper knows the pod. The kubelet renews it.
fn token() -> ProjectedVolumeSource {
    let token = ServiceAccountTokenProjection {
        audience: Some(HELPER_AUDIENCE.to_owned()),
        expiration_seconds: Some(TOKEN_SECS),
        path: "token".to_owned(),
    };
    let source = VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() };
    ProjectedVolumeSource { default_mode: Some(READABLE), sources: Some(vec![source]) }
}

const SECRET: &str = "tunmesh-config";
const RUN: &str = "tunmesh-run";
const TOKEN: &str = "tunmesh-token";
const DEVICE: &str = "tunmesh-device";

const SECRET_PATH: &str = "/etc/tunmesh";
const RUN_PATH: &str = "/run/tunmesh";
const TOKEN_PATH: &str = "/var/run/tunmesh/token";
const DEVICE_PATH: &str = "/dev/net/tun";
const ACCOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The volumes are mounted in the sidecar only, which has an arbitrary user.
const READABLE: i32 = 0o444;
/// Room for a status file; it counts as memory of the container.
const RUN_SIZE: &str = "1Mi";
/// The least that the API server takes.
const TOKEN_SECS: i64 = 600;
