use std::net::Ipv4Addr;

use ipnet::IpNet;

use crate::layout::HELPER_AUDIENCE;

/// Why a pod cannot be a member as it is. The text is for the person who makes the pod: place, value, fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It wants an address that the mesh does not give.
    #[error(
        "metadata.annotations[tunmesh.io/address] is {address}, which no member of the mesh can have: take one within {}, \
         but neither the first nor the last of a network",
        listed(pools)
    )]
    AddressOutside {
        /// The address.
        address: Ipv4Addr,
        /// Networks of the mesh.
        pools: Vec<IpNet>,
    },
    /// An annotation has a value that it cannot have.
    #[error("metadata.annotations[{key}] is {value:?}: write {wanted}")]
    AnnotationInvalid {
        /// The annotation.
        key: &'static str,
        /// Its value, at most its first characters.
        value: String,
        /// What it can be.
        wanted: &'static str,
    },
    /// An annotation that only the webhook writes.
    #[error("metadata.annotations[{key}] is written by the webhook only: remove it")]
    AnnotationReserved {
        /// The annotation.
        key: &'static str,
    },
    /// There is no such annotation.
    #[error("metadata.annotations[{key}] is not known: remove it, or write one of {known}")]
    AnnotationUnknown {
        /// The annotation, at most its first characters.
        key: String,
        /// Those there are.
        known: String,
    },
    /// It would have the network of its node.
    #[error(
        "spec.hostNetwork is true, and a pod in the network of its node cannot be a member: remove it, or the label \
         tunmesh.io/mesh"
    )]
    HostNetwork,
    /// The mesh is being deleted.
    #[error(
        "the TunMesh {namespace}/{name} of the label tunmesh.io/mesh is being deleted: make it again, or remove the label"
    )]
    MeshEnding {
        /// Namespace of the mesh.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// There is no such mesh.
    #[error(
        "the TunMesh {namespace}/{name} of the label tunmesh.io/mesh does not exist: make it, correct the label, or name \
         its namespace with the label tunmesh.io/mesh-namespace"
    )]
    MeshMissing {
        /// Namespace of the mesh.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A label of it can be no name.
    #[error("metadata.labels[{label}] is {value:?}: write the {meaning}, or remove the label")]
    MeshNameInvalid {
        /// The label.
        label: &'static str,
        /// What it is to be.
        meaning: &'static str,
        /// Its value, at most its first characters.
        value: String,
    },
    /// The mesh takes no pods of this namespace.
    #[error(
        "namespace {namespace} may not join the TunMesh {mesh}, whose spec.members.namespaces says {scope}: change that, or \
         make the pod in another namespace"
    )]
    NamespaceDenied {
        /// Namespace of the pod.
        namespace: String,
        /// Namespace and name of the mesh.
        mesh: String,
        /// Who may join.
        scope: String,
    },
    /// The application could read what is the sidecar's.
    #[error(
        "spec.shareProcessNamespace is true, so other containers could read the keys of the sidecar: remove it, or the \
         label tunmesh.io/mesh"
    )]
    ProcessNamespaceShared,
    /// The Secret that the pod names exists, so it is another pod's.
    #[error(
        "metadata.annotations[tunmesh.io/secret] names the Secret {secret} of another pod: remove this annotation, \
         tunmesh.io/sidecar-template, and the container and volumes that the webhook adds"
    )]
    SecretTaken {
        /// Name of the Secret.
        secret: String,
    },
    /// The mesh does not say which namespaces may join.
    #[error(
        "spec.members.namespaces.selector of the TunMesh {mesh} is no selector of labels: correct the operators and \
         values of its matchExpressions"
    )]
    SelectorInvalid {
        /// Namespace and name of the mesh.
        mesh: String,
    },
    /// It has a container with the name of the sidecar that the webhook did not make, or made of an older template.
    #[error(
        "{place} has a container tunmesh that is not the sidecar of the current template: remove it, and let the webhook \
         add it"
    )]
    SidecarDuplicate {
        /// Which list of containers.
        place: &'static str,
    },
    /// Another container could ask the node helper for the device.
    #[error(
        "spec.volumes has a volume {volume} with a token for the audience {HELPER_AUDIENCE}, which is the sidecar's only: \
         remove this source, or take another audience"
    )]
    TokenReserved {
        /// The volume.
        volume: String,
    },
    /// Another container would see what is the sidecar's.
    #[error("container {container} mounts volume {volume}, which is the sidecar's only: remove the mount")]
    VolumeMounted {
        /// The container.
        container: String,
        /// The volume.
        volume: String,
    },
    /// It has a volume with the name of one that the webhook adds.
    #[error("spec.volumes has a volume {volume}, a name that is the sidecar's: rename it")]
    VolumeTaken {
        /// The volume.
        volume: String,
    },
    /// It is for Windows.
    #[error("{place} is windows, and a pod on Windows cannot be a member: remove the label tunmesh.io/mesh")]
    Windows {
        /// Which field.
        place: &'static str,
    },
}

impl Refusal {
    /// A word for it, for metrics.
    pub const fn category(&self) -> &'static str {
        match self {
            Self::AddressOutside { .. } => "AddressOutside",
            Self::AnnotationInvalid { .. } => "AnnotationInvalid",
            Self::AnnotationReserved { .. } => "AnnotationReserved",
            Self::AnnotationUnknown { .. } => "AnnotationUnknown",
            Self::HostNetwork => "HostNetwork",
            Self::MeshEnding { .. } => "MeshEnding",
            Self::MeshMissing { .. } => "MeshMissing",
            Self::MeshNameInvalid { .. } => "MeshNameInvalid",
            Self::NamespaceDenied { .. } => "NamespaceDenied",
            Self::ProcessNamespaceShared => "ProcessNamespaceShared",
            Self::SecretTaken { .. } => "SecretTaken",
            Self::SelectorInvalid { .. } => "SelectorInvalid",
            Self::SidecarDuplicate { .. } => "SidecarDuplicate",
            Self::TokenReserved { .. } => "TokenReserved",
            Self::VolumeMounted { .. } => "VolumeMounted",
            Self::VolumeTaken { .. } => "VolumeTaken",
            Self::Windows { .. } => "Windows",
        }
    }
}

/// What a person wrote, not too much of it: nobody has checked it yet.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

const MAX_SHOWN: usize = 80;

fn listed(pools: &[IpNet]) -> String {
    pools.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}
