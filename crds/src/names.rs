//! Names that objects of ours and of other people carry: labels, annotations, finalizers, keys of Secrets.

/// Label of a pod that is to join a mesh: the name of the `TunMesh`. Also on every object made for that mesh.
pub const MESH_LABEL: &str = "tunmesh.io/mesh";

/// Label with the namespace of the mesh, on pods that join a mesh of another namespace and on every object made for it.
pub const MESH_NAMESPACE_LABEL: &str = "tunmesh.io/mesh-namespace";

/// Label with the UID of the mesh, on every object made for it: what is left of a mesh of the same name is not taken for
/// this one's.
pub const MESH_UID_LABEL: &str = "tunmesh.io/mesh-uid";

/// Label with the UID of the pod, on what was made for one pod.
pub const POD_UID_LABEL: &str = "tunmesh.io/pod-uid";

/// Kubernetes' label for who keeps an object, with [`MANAGER`] as value.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Value of [`MANAGED_BY_LABEL`].
pub const MANAGER: &str = "tunmesh-operator";

/// Annotation that the webhook writes: the random name of the Secret that the pod's volume waits for.
pub const SECRET_ANNOTATION: &str = "tunmesh.io/secret";

/// Annotation that the webhook writes: the fingerprint of the template the sidecar was made of. Another one is an old
/// sidecar.
pub const TEMPLATE_ANNOTATION: &str = "tunmesh.io/sidecar-template";

/// Name of the sidecar container.
pub const SIDECAR: &str = "tunmesh";

/// Finalizer of a `TunMesh`: what was made for it is removed before it is gone.
pub const FINALIZER: &str = "tunmesh.io/cleanup";

/// Annotations with which a pod asks for something of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PodAnnotation {
    /// The mesh address it wants.
    Address,
    /// Limit of CPU of the sidecar.
    CpuLimit,
    /// Request of CPU of the sidecar.
    CpuRequest,
    /// Image of the sidecar.
    Image,
    /// Log level of the sidecar.
    LogLevel,
    /// Limit of memory of the sidecar.
    MemoryLimit,
    /// Request of memory of the sidecar.
    MemoryRequest,
    /// Where its device comes from.
    Tun,
}

impl PodAnnotation {
    /// All of them, in alphabetical order.
    pub const ALL: [Self; 8] = [
        Self::Address,
        Self::CpuLimit,
        Self::CpuRequest,
        Self::Image,
        Self::LogLevel,
        Self::MemoryLimit,
        Self::MemoryRequest,
        Self::Tun,
    ];

    /// The key of the annotation.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Address => "tunmesh.io/address",
            Self::CpuLimit => "tunmesh.io/cpu-limit",
            Self::CpuRequest => "tunmesh.io/cpu-request",
            Self::Image => "tunmesh.io/image",
            Self::LogLevel => "tunmesh.io/log-level",
            Self::MemoryLimit => "tunmesh.io/memory-limit",
            Self::MemoryRequest => "tunmesh.io/memory-request",
            Self::Tun => "tunmesh.io/tun",
        }
    }

    /// What its value is and does, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Address => {
                "IPv4 address within `status.addressPools` of the mesh that the pod wants; it waits while it is another's."
            }
            Self::CpuLimit => "Quantity, in place of `spec.sidecar.resources.limits.cpu`.",
            Self::CpuRequest => "Quantity, in place of `spec.sidecar.resources.requests.cpu`.",
            Self::Image => "Image reference, in place of `spec.sidecar.image`.",
            Self::LogLevel => "`debug`, `info`, `warn` or `error`, in place of `spec.sidecar.logLevel`.",
            Self::MemoryLimit => "Quantity, in place of `spec.sidecar.resources.limits.memory`.",
            Self::MemoryRequest => "Quantity, in place of `spec.sidecar.resources.requests.memory`.",
            Self::Tun => "`NodeHelper` or `HostDevice`, in place of `spec.sidecar.tun`.",
        }
    }
}

/// Keys of the Secret of a member. Those of certificate and private key are the ones of type `kubernetes.io/tls`.
pub mod member_secret {
    /// The agent's configuration.
    pub const CONFIG: &str = "config.yaml";
    /// The member's certificate, PEM, with the chain to the authority.
    pub const CERTIFICATE: &str = "tls.crt";
    /// Its private key, PEM.
    pub const PRIVATE_KEY: &str = "tls.key";
    /// Authorities it trusts, PEM.
    pub const AUTHORITIES: &str = "ca.crt";
    /// The cluster secret, base64.
    pub const CLUSTER_SECRET: &str = "cluster-secret";
}

/// Which of several versions of a secret: a rotation moves them from next to current to previous.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Generation {
    /// In use.
    Current,
    /// Trusted, not in use yet.
    Next,
    /// Still trusted, no longer in use.
    Previous,
}

impl Generation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Current, Self::Next, Self::Previous];

    /// Key of the authority's certificate in the Secret of the mesh.
    pub const fn authority_certificate(self) -> &'static str {
        match self {
            Self::Current => "ca-current.crt",
            Self::Next => "ca-next.crt",
            Self::Previous => "ca-previous.crt",
        }
    }

    /// Key of the authority's private key in the Secret of the mesh.
    pub const fn authority_private_key(self) -> &'static str {
        match self {
            Self::Current => "ca-current.key",
            Self::Next => "ca-next.key",
            Self::Previous => "ca-previous.key",
        }
    }

    /// Key of the cluster secret in the Secret of the mesh.
    pub const fn cluster_secret(self) -> &'static str {
        match self {
            Self::Current => "cluster-secret-current",
            Self::Next => "cluster-secret-next",
            Self::Previous => "cluster-secret-previous",
        }
    }
}
