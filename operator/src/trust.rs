//! Trust of a mesh: who signs its certificates, and the secret its members share.
//!
//! Decisions and cryptography only: what is stored comes in and goes out as the data of a Secret, and the time is passed in.
//!
//! ```text
//! MeshTrust   authority, cluster secret; each current, maybe next, maybe previous  <-> Secret of the mesh
//!   issue     LeafRequest -> Issued: certificate and private key of one member      -> Secret of the member
//! ```
//!
//! Keys are ECDSA P-256, which every implementation of the protocol verifies. A certificate names its member three ways:
//! by its addresses, which members check of one another; by DNS names; and by a SPIFFE ID (SPIFFE-ID, section 2).

pub(crate) mod authority;
mod cluster_secret;
mod error;
mod generations;
pub(crate) mod leaf;
pub(crate) mod moment;
pub(crate) mod names;
pub(crate) mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rcgen::SanType;
use tunmesh_crds::Trust;
use tunmesh_crds::names::Generation;

use authority::Authority;
use cluster_secret::ClusterSecret;
pub use error::TrustError;
use generations::Generations;
pub use leaf::{Issued, LeafRequest};

/// Which mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshName {
    /// Namespace of the `TunMesh`.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What makes the members of one mesh trust one another. `Debug` shows no secret.
#[derive(Debug)]
pub struct MeshTrust {
    authorities: Generations<Authority>,
    cluster_secrets: Generations<ClusterSecret>,
}

impl MeshTrust {
    /// A new authority and a new cluster secret, made `now`, both current.
    ///
    /// The authority lasts as [`authority_lifetime`] says of `trust`.
    ///
    /// # Errors
    ///
    /// [`TrustError::Signing`] or [`TrustError::Randomness`], when the cryptographic library fails.
    pub fn generate(mesh: &MeshName, trust: &Trust, now: Timestamp) -> Result<Self, TrustError> {
        let names = vec![SanType::URI(names::ia5(&names::trust_domain(mesh))?)];
        let authority = Authority::generate("Tun Mesh authority", names, authority_lifetime(trust), now)?;
        let cluster_secret = ClusterSecret::generate(now)?;
        Ok(Self { authorities: Generations::new(authority), cluster_secrets: Generations::new(cluster_secret) })
    }

    /// Reads what [`to_secret_data`](Self::to_secret_data) wrote. Keys that are not ours are passed over.
    ///
    /// # Errors
    ///
    /// What is missing or damaged, by its key, and never what it holds.
    pub fn from_secret(data: &BTreeMap<String, ByteString>) -> Result<Self, TrustError> {
        let missing = |key: &str| TrustError::Missing { key: key.to_owned() };
        Ok(Self {
            authorities: Generations::read(
                |generation| stored::authority(data, generation),
                || missing(Generation::Current.authority_certificate()),
            )?,
            cluster_secrets: Generations::read(
                |generation| stored::cluster_secret(data, generation),
                || missing(Generation::Current.cluster_secret()),
            )?,
        })
    }

    /// The data of the Secret of the mesh.
    pub fn to_secret_data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        for (generation, authority) in self.authorities.iter() {
            stored::write_authority(&mut data, generation, authority);
        }
        for (generation, secret) in self.cluster_secrets.iter() {
            stored::write_cluster_secret(&mut data, generation, secret);
        }
        data
    }

    /// Certificates of all authorities that members trust, PEM, the current one first.
    pub fn authorities_pem(&self) -> String {
        self.authorities.iter().map(|(_, authority)| authority.certificate_pem()).collect()
    }

    /// The cluster secret in use, in base64.
    pub fn cluster_secret(&self) -> &str {
        self.cluster_secrets.current().base64()
    }

    /// Cluster secrets that members take beside it, in base64: the next and the previous one, as far as there are.
    pub fn previous_cluster_secrets(&self) -> impl Iterator<Item = &str> {
        self.cluster_secrets
            .iter()
            .filter(|(generation, _)| *generation != Generation::Current)
            .map(|(_, secret)| secret.base64())
    }

    /// When the current authority was made.
    pub fn authority_created(&self) -> Timestamp {
        self.authorities.current().created()
    }

    /// When the certificate of the current authority ends.
    pub fn authority_expires(&self) -> Timestamp {
        self.authorities.current().not_after()
    }

    /// When the current cluster secret was made.
    pub fn cluster_secret_created(&self) -> Timestamp {
        self.cluster_secrets.current().created()
    }

    /// A key and a certificate for one member, signed `now` by the current authority.
    ///
    /// It is valid from some minutes ago, for clocks that are behind, and never beyond its authority's end.
    ///
    /// # Errors
    ///
    /// [`TrustError::AuthorityEnded`], [`TrustError::NameUnusable`] for a name that a certificate cannot hold, or
    /// [`TrustError::Signing`].
    pub fn issue(&self, request: &LeafRequest, now: Timestamp) -> Result<Issued, TrustError> {
        leaf::issue(self.authorities.current(), request, now)
    }

    /// When the certificate in `pem` is to be replaced; `None` for at once, as it is not what [`issue`](Self::issue)
    /// would make of `request`: damaged, of other names, or of another authority.
    pub fn renew_at(&self, request: &LeafRequest, pem: &[u8]) -> Option<Timestamp> {
        leaf::renew_at(self.authorities.current(), request, pem)
    }
}

/// How long an authority is valid: twice as long as it is in use, so that a late rotation harms nobody; one that is never
/// rotated a hundred years.
pub fn authority_lifetime(trust: &Trust) -> Duration {
    let rotation = trust.rotation.authority.duration();
    if rotation.is_zero() { NEVER_ROTATED } else { rotation * 2 }
}

const NEVER_ROTATED: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
