use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tunmesh_mesh::Refusal;
use tunmesh_protocol::AuthError;

use crate::client::ExchangeError;
use crate::logging::chain;
use crate::requests::Stopped;

/// Why the control API does not do what it was asked.
///
/// What the other side reads is short and the same for every failed authentication; the reason goes to the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("authentication failed")]
    Auth(#[from] AuthError),
    #[error("the body is over {limit} bytes or broke off")]
    Body { limit: usize },
    #[error("the body was not complete in time")]
    BodyLate,
    #[error("failed to reach the registrant at its own URL")]
    Callback(#[source] ExchangeError),
    #[error("invalid content type {found:?}")]
    ContentType { found: String },
    #[error("the body cannot be read as {what}")]
    Malformed { what: &'static str, reason: String },
    #[error("a valid token without a usable issuer")]
    NoIssuer,
    #[error("no session with this node")]
    NoSession,
    #[error("no certificate for the address of the sender")]
    NotCertified,
    #[error("the registrant speaks the original protocol only (clustering.auth.refuse_original)")]
    OriginalRefused,
    #[error("the registration is refused")]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Stopping(#[from] Stopped),
    #[error("unknown node")]
    UnknownNode,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        tracing::debug!(error = chain(&self), reason = self.reason(), "request refused");
        match self {
            Self::Auth(_) | Self::NoSession => text(StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Body { .. } => text(StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large"),
            Self::BodyLate => text(StatusCode::REQUEST_TIMEOUT, "Request Timeout"),
            // 503 and not 4xx: the original drops its session on any 4xx.
            Self::Callback(_) | Self::Stopping(_) => text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
            Self::ContentType { found } => text(StatusCode::BAD_REQUEST, &format!("Invalid content type {found}")),
            Self::Malformed { .. } | Self::NoIssuer => html(StatusCode::BAD_REQUEST, "Failed"),
            Self::NotCertified | Self::OriginalRefused => html(StatusCode::FORBIDDEN, "Forbidden"),
            Self::Refused(Refusal::ToSelf) => html(StatusCode::MISDIRECTED_REQUEST, "Registration to self"),
            Self::Refused(Refusal::IdMismatch) => html(StatusCode::BAD_REQUEST, "Failed"),
            Self::Refused(refusal) => html(StatusCode::CONFLICT, &refusal.to_string()),
            Self::UnknownNode => html(StatusCode::NOT_FOUND, "Not Found"),
        }
    }
}

impl ApiError {
    /// What the other side is told when it cannot be reached at its own URL, or shows another's certificate there.
    pub(super) fn not_called_back(error: ExchangeError) -> Self {
        if !error.is_not_certified() {
            return Self::Callback(error);
        }
        tracing::warn!(error = chain(&error), "a registration is refused");
        Self::NotCertified
    }

    /// What the other side is not told.
    fn reason(&self) -> Option<String> {
        match self {
            Self::Auth(error) => Some(error.reason().to_string()),
            Self::Malformed { reason, .. } => Some(reason.clone()),
            Self::Body { .. }
            | Self::BodyLate
            | Self::Callback(_)
            | Self::ContentType { .. }
            | Self::NoIssuer
            | Self::NoSession
            | Self::NotCertified
            | Self::OriginalRefused
            | Self::Refused(_)
            | Self::Stopping(_)
            | Self::UnknownNode => None,
        }
    }
}

/// Every path or method that is no route.
pub(super) async fn not_found() -> Response {
    html(StatusCode::NOT_FOUND, "Not Found")
}

/// Plain text in the original's spelling of the content type.
pub(super) fn text(status: StatusCode, body: &str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain;charset=utf-8")], body.to_owned()).into_response()
}

fn html(status: StatusCode, body: &str) -> Response {
    (status, [(CONTENT_TYPE, "text/html;charset=utf-8")], body.to_owned()).into_response()
}
