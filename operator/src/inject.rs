//! The sidecar of a pod that joins a mesh: what is added to the pod, or why the pod is refused. Pure: no client, no clock.
//!
//! ```text
//! pod with the label --MeshRef--> which mesh
//! TunMesh, Defaults, annotations of the pod --Template--> container and volumes, fingerprint
//! inject(Request, name of a Secret) -> Injection (JSON patch, RFC 6902) or Refusal
//! ```
//!
//! The container is a native sidecar (an init container with `restartPolicy: Always`), the first of them, so that the mesh
//! is there before anything else of the pod runs and until all of it has ended. It waits for a volume whose Secret does
//! not exist yet: the controller writes it for the pod that was made.

mod check;
mod container;
mod patch;
mod present;
mod quantity;
mod refusal;
mod scope;
mod template;
#[cfg(test)]
mod tests;
mod volumes;

use std::collections::BTreeMap;

use aws_lc_rs::error::Unspecified;
use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use tunmesh_crds::TunMesh;
use tunmesh_crds::names::{MESH_LABEL, MESH_NAMESPACE_LABEL};

pub use refusal::Refusal;
pub use scope::{has_sound_selector, is_allowed};
pub use template::{Defaults, Template, fingerprint_for};

/// The mesh that a pod asks for by its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeshRef {
    /// Namespace of the `TunMesh`.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl MeshRef {
    /// What the labels of a pod in `namespace` ask for; `None` for a pod that asks for no mesh.
    ///
    /// # Errors
    ///
    /// [`Refusal::MeshNameInvalid`] if a label is no DNS label: nobody has checked the pod yet.
    pub fn of(labels: Option<&BTreeMap<String, String>>, namespace: &str) -> Result<Option<Self>, Refusal> {
        let label = |label, meaning| match labels.and_then(|labels| labels.get(label)) {
            Some(value) if !is_dns_label(value) => {
                Err(Refusal::MeshNameInvalid { label, meaning, value: refusal::shortened(value) })
            }
            value => Ok(value.cloned()),
        };
        let Some(name) = label(MESH_LABEL, "name of a TunMesh")? else { return Ok(None) };
        let own = label(MESH_NAMESPACE_LABEL, "namespace of the TunMesh")?;
        Ok(Some(Self { namespace: own.unwrap_or_else(|| namespace.to_owned()), name }))
    }
}

/// RFC 1123, section 2.1, in lower case.
fn is_dns_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// A pod that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its namespace, which the pod itself need not name.
    pub namespace: &'a str,
    /// Labels of that namespace.
    pub namespace_labels: &'a BTreeMap<String, String>,
    /// The mesh of its [`MeshRef`].
    pub mesh: &'a TunMesh,
    /// What the operator adds where mesh and pod say nothing.
    pub defaults: &'a Defaults,
}

/// What to do with a pod that is not refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Injection {
    /// Add these things.
    Add {
        /// How.
        patch: Patch,
        /// What the person who makes the pod should know, each under 256 characters.
        warnings: Vec<String>,
    },
    /// Nothing: the sidecar is there, as the webhook is called again after others. The pod keeps this Secret.
    Present {
        /// Name of the Secret.
        secret: String,
    },
}

/// Adds the sidecar, with a volume of the Secret `secret_name`, to a pod.
///
/// # Errors
///
/// Why the pod cannot be a member as it is.
pub fn inject(request: &Request<'_>, secret_name: &str) -> Result<Injection, Refusal> {
    scope::request(request)?;
    check::pod(request.pod)?;
    let annotations = request.pod.metadata.annotations.clone().unwrap_or_default();
    let template = Template::new(request.mesh, request.defaults, &annotations)?;
    if let Some(secret) = present::secret_of(request.pod, &template)? {
        return Ok(Injection::Present { secret });
    }
    let patch = patch::add(request.pod, &template, secret_name);
    Ok(Injection::Add { patch, warnings: check::warnings(request.pod) })
}

/// A name for a Secret that nobody can guess: 128 random bits.
///
/// # Errors
///
/// If there is no randomness.
pub fn random_secret_name() -> Result<String, Unspecified> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(format!("{SECRET_PREFIX}{:032x}", u128::from_be_bytes(bytes)))
}

/// Whether [`random_secret_name`] could have made it.
pub fn is_secret_name(name: &str) -> bool {
    let digits = name.strip_prefix(SECRET_PREFIX).unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

const SECRET_PREFIX: &str = "tunmesh-";
