//! Members: a pod with the label, or a machine outside the cluster, gets an address, a certificate and a configuration.
//!
//! ```text
//! pod with the label and a sidecar -> TunMeshMember, claim -> status.addresses, Secret -> the kubelet starts the sidecar
//! TunMeshMember with spec.outside  -----------------> claim -> status.addresses, Secret -> a person fetches it
//! ```

mod address;
mod config;
mod facts;
mod outside;
mod pod;
mod provide;
mod secret;
mod unlabelled;

use std::sync::Arc;

use kube::runtime::controller::Action;
use tunmesh_crds::TunMeshMember;

use crate::context::Context;
use crate::error::Error;

pub use config::{Device, MemberConfig};
pub use facts::PodFacts;
pub(crate) use outside::is_usable as is_usable_outside;
pub(crate) use pod::reconcile as reconcile_pod;

/// Looks at a member by itself: a machine outside, or one whose pod may not carry the label any more.
pub(crate) async fn reconcile(member: Arc<TunMeshMember>, context: Arc<Context>) -> Result<Action, Error> {
    match &member.spec.pod {
        Some(pod) => unlabelled::reconcile(&member, pod, &context).await,
        None => outside::reconcile(member, context).await,
    }
}
