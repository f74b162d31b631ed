//! Members: a pod with the label, or a machine outside the cluster, gets an address, a certificate and a configuration.
//!
//! ```text
//! pod with the label and a sidecar -> TunMeshMember -> claim -> status.addresses -> Secret -> the kubelet starts the sidecar
//! TunMeshMember with spec.outside  ------------------> claim -> status.addresses -> Secret -> a person fetches it
//! ```

mod config;
mod facts;
mod outside;
mod pod;
mod provide;
mod secret;

pub use config::{Device, MemberConfig};
pub use facts::PodFacts;
pub(crate) use outside::{
    is_usable as is_usable_outside, lifetime as outside_lifetime, reconcile as reconcile_outside,
};
pub(crate) use pod::reconcile as reconcile_pod;
