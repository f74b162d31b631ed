use jiff::Timestamp;

/// Why there is no trust, or no certificate. No text holds anything of a Secret but its keys.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The authority can sign no more.
    #[error("the certificate authority of the mesh ended at {ended}: rotate it")]
    AuthorityEnded {
        /// When.
        ended: Timestamp,
    },
    /// What is stored cannot be read.
    #[error("{key} of the Secret of the mesh is not {wanted}: restore it from a backup, or make the mesh again")]
    Damaged {
        /// The key of the Secret.
        key: String,
        /// What should be there.
        wanted: &'static str,
    },
    /// Something is not there.
    #[error("{key} is missing in the Secret of the mesh: restore it from a backup, or make the mesh again")]
    Missing {
        /// The key of the Secret.
        key: String,
    },
    /// A name cannot stand in a certificate.
    #[error("{name:?} cannot stand in a certificate: use letters, digits, - and .")]
    NameUnusable {
        /// The name.
        name: String,
    },
    /// There is no randomness.
    #[error("failed to draw random bytes")]
    Randomness,
    /// A key or certificate could not be made.
    #[error("failed to {attempt}")]
    Signing {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        source: rcgen::Error,
    },
}

impl TrustError {
    pub(super) fn signing(attempt: &'static str) -> impl Fn(rcgen::Error) -> Self {
        move |source| Self::Signing { attempt, source }
    }
}
