//! What the parts of a mesh in a cluster are called, and where they meet.

/// The TUN device in a pod.
pub const DEVICE: &str = "tunmesh0";
/// TCP and UDP port of a member that is a pod.
pub const PORT: u16 = 4567;
/// The socket at which the node helper hands devices over, as it stands in the agent's configuration.
pub const HELPER_SOCKET: &str = "@tunmesh/node-helper";
/// Audience of the token that proves a sidecar to the node helper.
pub const HELPER_AUDIENCE: &str = "tunmesh-node-helper";
/// The file of that token in a sidecar.
pub const HELPER_TOKEN: &str = "/var/run/tunmesh/token/token";
/// MTU of a mesh that asks for none: what is left of 1,500 bytes by the outermost 80 bytes of a sealed datagram.
pub const DEFAULT_MTU: u16 = 1420;
/// The `MutatingWebhookConfiguration`.
pub const WEBHOOK: &str = "tunmesh";
/// The webhook in it, as it stands in what the API server says when it cannot call it.
pub const HOOK: &str = "inject.tunmesh.io";
/// Label of the pods of the operator.
pub const OPERATOR_PODS: &str = "app.kubernetes.io/component=operator";
/// Label of the pods of the node helper.
pub const HELPER_PODS: &str = "app.kubernetes.io/component=node-helper";
/// Most endpoints in one `EndpointSlice`; Kubernetes' own controller has the same bound.
pub const MAX_SLICE_ENDPOINTS: usize = 100;

/// The headless Service whose name leads to the members of `mesh`, in the namespace of the mesh.
pub fn service(mesh: &str) -> String {
    format!("tunmesh-{mesh}")
}

/// The Service through which machines outside the cluster reach `mesh`.
pub fn exposed_service(mesh: &str) -> String {
    format!("tunmesh-{mesh}-outside")
}

/// An `EndpointSlice` of a Service.
pub fn slice(service: &str, number: usize) -> String {
    format!("{service}-{number}")
}

/// The Secret with authority and cluster secret of `mesh`, in its namespace.
pub fn trust_secret(mesh: &str) -> String {
    format!("tunmesh-{mesh}-trust")
}

/// The Secret of a member outside the cluster, in the namespace of the member.
pub fn outside_secret(member: &str) -> String {
    format!("tunmesh-member-{member}")
}
