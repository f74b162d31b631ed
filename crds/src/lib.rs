//! The cluster API of Tun Mesh, group `tunmesh.io`, version `v1alpha1`.
//!
//! ```text
//! TunMesh        one mesh; written by a person            (namespaced, tm)
//!   <- TunMeshMember   one pod or one machine outside     (namespaced, tmm)
//!   <- TunMeshAddress  one claimed address; its creation
//!                      is the claim                       (cluster-scoped, tma)
//! ```
//!
//! The types are the source of `crds/yaml` and `docs/api.md`; tests keep both current. What an object must not say, the
//! API server refuses by the rules written here (CEL, Kubernetes 1.31 or later), so what can be read is well-formed.
#![forbid(unsafe_code)]
#![expect(unreachable_pub, reason = "the KubeSchema derive copies each type into a function")]

mod address;
mod address_name;
mod condition;
mod member;
mod mesh;
mod mtu;
pub mod names;
mod period;
mod reason;
mod schema;

pub use address::{
    AddressMesh, AddressOwner, AddressPhase, OwnerKind, TunMeshAddress, TunMeshAddressSpec, TunMeshAddressStatus,
};
pub use address_name::address_name;
pub use condition::{MemberCondition, MeshCondition};
pub use member::{
    MemberAddresses, MemberMaterial, MemberMesh, MemberPod, OutsideMember, Port, TunMeshMember, TunMeshMemberSpec,
    TunMeshMemberStatus,
};
pub use mesh::{
    AddressUse, Allowance, Compatibility, EnvVar, Exposure, ExposureType, Issuer, IssuerKind, LogLevel, MemberCounts,
    Members, NamespaceScope, NamespacesFrom, Resources, Rotation, Sidecar, Trust, TrustStatus, TunMesh, TunMeshSpec,
    TunMeshStatus, TunMode,
};
pub use mtu::{MAX_MTU, MIN_MTU, Mtu, ParseMtuError};
pub use period::{ParsePeriodError, Period};
pub use reason::{MemberReason, MeshReason, ReasonInfo, Verdict};

/// The API group of all kinds.
pub const GROUP: &str = "tunmesh.io";

/// The API version of all kinds.
pub const VERSION: &str = "v1alpha1";
