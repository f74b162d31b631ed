//! Authentication as a type: a handler that takes one of these extractors cannot be reached without the proof.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::RequestPartsExt;
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Path};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tunmesh_protocol::{AuthError, BodyDigest, NodeId, Token, Verified, authorize, verify};

use super::ServerState;
use super::error::ApiError;
use crate::peers::Peer;
use crate::shared::Shared;
use crate::tls::Proof;

/// A request signed with the cluster token.
pub(super) struct ClusterSigned {
    pub(super) body: Bytes,
    /// Who signed; `None` if the token names nobody.
    pub(super) issuer: Option<NodeId>,
    /// What tells which certificate the sender has.
    pub(super) proof: Option<Proof>,
}

/// A request signed with the session this node gave to the peer named in the path.
pub(super) struct SessionSigned {
    pub(super) body: Bytes,
    pub(super) peer: Arc<Peer>,
}

impl FromRequest<ServerState> for ClusterSigned {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, state: &ServerState) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        check_content_type(&parts.headers)?;
        let live = state.shared.live.load_full();
        let verified = check_token(&parts, &live.cluster.accepted(), &state.shared)
            .inspect_err(|error| state.shared.incidents.request_refused(error.reason(), Instant::now()))?;
        let body = check_body(body, &verified, MAX_CONTROL_BODY).await?;
        Ok(Self { body, issuer: verified.issuer.clone(), proof: Proof::of(&parts.headers) })
    }
}

impl FromRequest<ServerState> for SessionSigned {
    type Rejection = ApiError;

    /// Checks in the original's order: content type, known node, token, body.
    async fn from_request(request: Request<Body>, state: &ServerState) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        check_content_type(&parts.headers)?;
        let Path(id) = parts.extract::<Path<NodeId>>().await.map_err(|_| ApiError::UnknownNode)?;
        let peer = state.shared.peer(&id).ok_or(ApiError::UnknownNode)?;
        let session = peer.inbound_session().ok_or(ApiError::NoSession)?;
        if session.made_at.elapsed() > state.shared.live.load().session_refused_after() {
            return Err(ApiError::NoSession);
        }
        let verified = check_token(&parts, &[&session.token], &state.shared)?;
        let limit = if is_for_packets(&parts) { MAX_PACKET_BODY } else { MAX_CONTROL_BODY };
        let body = check_body(body, &verified, limit).await?;
        Ok(Self { body, peer })
    }
}

/// A JSON answer, signed for its reader.
pub(super) fn signed(shared: &Shared, token: &Token, audience: &NodeId, body: Vec<u8>) -> Response {
    let live = shared.live.load();
    let authorization =
        authorize(token, &shared.id, audience, BodyDigest::of(&body), &live.windows, shared.clock.wall());
    let authorization = (AUTHORIZATION, authorization);
    ([authorization, (CONTENT_TYPE, "application/json".to_owned())], body).into_response()
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let found = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if found == b"application/json" {
        return Ok(());
    }
    Err(ApiError::ContentType { found: String::from_utf8_lossy(found).chars().take(MAX_ECHO).collect() })
}

/// Everything that can be known before the body is read, so that nobody without a token makes us read one.
fn check_token<'t>(parts: &Parts, tokens: &[&'t Token], shared: &Shared) -> Result<Verified<'t>, AuthError> {
    let header = parts.headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    verify(header, tokens, &shared.id, shared.clock.wall())
}

fn is_for_packets(parts: &Parts) -> bool {
    parts.uri.path().starts_with("/tunmesh/control/v0/packet/")
}

async fn check_body(body: Body, verified: &Verified<'_>, limit: usize) -> Result<Bytes, ApiError> {
    let body = read(body, limit).await?;
    verified.matches(BodyDigest::of(&body))?;
    Ok(body)
}

/// The whole body, if it comes in time.
async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    timeout(BODY_LIMIT, gather(body, limit)).await.unwrap_or(Err(ApiError::BodyLate))
}

/// The whole body, in room made for it at once where its length is known.
async fn gather(mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let too_long = || ApiError::Body { limit };
    let announced = body.size_hint().exact().map(|len| usize::try_from(len).unwrap_or(usize::MAX));
    if announced.is_some_and(|len| len > limit) {
        return Err(too_long());
    }
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or_default());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| too_long())?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit {
            return Err(too_long());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// Largest body of a control request, in bytes: 10,000 members take about 2 MB, and twenty times that while it is read.
const MAX_CONTROL_BODY: usize = 2 << 20;

/// Largest body of packets, in bytes: 1,024 packets of 1,500 bytes take 2.2 MB.
const MAX_PACKET_BODY: usize = 8 << 20;

/// Time for reading a body, once its head is complete.
const BODY_LIMIT: Duration = Duration::from_secs(30);

/// Characters of a foreign header repeated in an answer.
const MAX_ECHO: usize = 80;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    /// A body whose second half never comes.
    struct Half(Option<Bytes>);

    impl HttpBody for Half {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.take().map_or(Poll::Pending, |half| Poll::Ready(Some(Ok(Frame::data(half)))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_in_time_is_given_up() {
        let body = Body::new(Half(Some(Bytes::from_static(b"{"))));

        let outcome = timeout(2 * BODY_LIMIT, read(body, MAX_CONTROL_BODY)).await;

        assert!(matches!(outcome, Ok(Err(ApiError::BodyLate))), "{outcome:?}");
    }
}
