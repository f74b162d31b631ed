use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::jiff::Timestamp;
use tunmesh_crds::{TunMesh, TunMeshAddress, TunMeshMember};

use crate::member::PodFacts;

/// What the API server says of a cluster.
#[derive(Debug)]
pub(crate) struct Facts {
    /// When it was asked.
    pub(crate) now: Timestamp,
    /// Namespace of the operator.
    pub(crate) namespace: String,
    /// Kinds of ours that it does not serve.
    pub(crate) missing_kinds: Vec<&'static str>,
    pub(crate) webhook: Option<MutatingWebhookConfiguration>,
    /// Pods of the operator, and how many are ready.
    pub(crate) operators: (usize, usize),
    /// Nodes whose node helper is ready.
    pub(crate) helpers: BTreeSet<String>,
    pub(crate) meshes: Vec<TunMesh>,
    pub(crate) members: Vec<TunMeshMember>,
    pub(crate) claims: Vec<TunMeshAddress>,
    /// Pods with the label of a mesh.
    pub(crate) pods: Vec<PodFacts>,
}
