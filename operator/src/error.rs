//! What can go wrong while a cluster is made as it should be.

use crate::trust::TrustError;

/// Why something was not done. Every kind has a [`Category`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not do it.
    #[error("failed to {attempt}")]
    Api {
        /// What was tried.
        attempt: String,
        /// What came of it.
        #[source]
        source: kube::Error,
    },
    /// Authority or certificate.
    #[error("failed to {attempt}")]
    Trust {
        /// What was tried.
        attempt: String,
        /// What came of it.
        #[source]
        source: TrustError,
    },
}

impl Error {
    /// For `map_err`: the API server failed at `attempt`.
    pub(crate) fn api(attempt: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { attempt: attempt.into(), source }
    }

    /// For `map_err`: authority or certificate failed at `attempt`.
    pub(crate) fn trust(attempt: impl Into<String>) -> impl FnOnce(TrustError) -> Self {
        move |source| Self::Trust { attempt: attempt.into(), source }
    }

    /// What came of it, in one line.
    pub fn cause(&self) -> String {
        match self {
            Self::Api { source: kube::Error::Api(status), .. } => status.message.clone(),
            Self::Api { source, .. } => source.to_string(),
            Self::Trust { source, .. } => source.to_string(),
        }
    }

    /// Its category.
    pub fn category(&self) -> Category {
        match self {
            Self::Trust { .. } => Category::Trust,
            Self::Api { source: kube::Error::Api(status), .. } => match status.code {
                409 => Category::Conflict,
                401 | 403 => Category::Forbidden,
                400 | 404 | 405 | 410 | 413 | 422 => Category::Refused,
                _ => Category::Unavailable,
            },
            Self::Api { .. } => Category::Unavailable,
        }
    }
}

/// Kinds of errors, as they stand in metrics and logs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Category {
    /// Somebody else wrote in between; the next try decides anew.
    Conflict,
    /// A right is missing, or a policy or quota says no.
    Forbidden,
    /// The API server does not take the object.
    Refused,
    /// Secrets or certificates cannot be used.
    Trust,
    /// The API server is away or overloaded.
    Unavailable,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Conflict, Self::Forbidden, Self::Refused, Self::Trust, Self::Unavailable];

    /// As a label of a metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::Trust => "trust",
            Self::Unavailable => "unavailable",
        }
    }
}
