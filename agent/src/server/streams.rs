//! Streams of packets: HTTP/2 on the API port, for members that ask for it by ALPN.

use std::error::Error;
use std::time::{Duration, Instant};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use h2::server::Builder;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tunmesh_protocol::{BodyDigest, NodeId, authorize, verify};

use super::ServerState;
use super::error::ApiError;
use super::sessions::check_proof;
use crate::shared::Shared;
use crate::stream::{PATH, PROTOCOL, receive};
use crate::tls::Proof;

/// Serves one connection: streams of packets, one at a time, and nothing else.
pub(super) async fn serve(
    state: &ServerState,
    stream: TlsStream<TcpStream>,
    limit: Duration,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let handshake = Builder::new()
        .enable_connect_protocol()
        .max_concurrent_streams(1)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEAD)
        .handshake(stream);
    let mut connection = timeout(limit, handshake).await??;
    while let Some(request) = timeout(limit, connection.accept()).await? {
        let (request, mut respond) = request?;
        let mut response = Response::new(());
        match admit(&state.shared, &request).await {
            Ok((peer, authorization)) => {
                response.headers_mut().insert(AUTHORIZATION, authorization);
                response.headers_mut().insert("capsule-protocol", HeaderValue::from_static("?1"));
                let mut answering = respond.send_response(response, false)?;
                tracing::debug!(%peer, "stream accepted");
                connection.set_target_window_size(WINDOW);
                connection.set_initial_window_size(WINDOW)?;
                receive(&state.shared, &state.device, &state.relay, &peer, &mut connection, request.into_body())
                    .await?;
                answering.send_data(Bytes::new(), true)?;
            }
            Err(status) => {
                *response.status_mut() = status;
                respond.send_response(response, true)?;
            }
        }
    }
    Ok(())
}

/// The member that asks for a stream, and the header that proves to it who answers.
async fn admit(shared: &Shared, request: &Request<RecvStream>) -> Result<(NodeId, HeaderValue), StatusCode> {
    let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
    if (request.method(), request.uri().path(), protocol) != (&Method::CONNECT, PATH, Some(PROTOCOL)) {
        return Err(StatusCode::NOT_FOUND);
    }
    authenticate(shared, request).await.map_err(|error| error.into_response().status())
}

async fn authenticate(shared: &Shared, request: &Request<RecvStream>) -> Result<(NodeId, HeaderValue), ApiError> {
    let live = shared.live.load_full();
    let header = request.headers().get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let verified = verify(header, &live.cluster.accepted(), &shared.id, shared.clock.wall())
        .inspect_err(|error| shared.incidents.request_refused(error.reason(), Instant::now()))?;
    verified.matches(BodyDigest::of(b""))?;
    let issuer = verified.issuer.ok_or(ApiError::NoIssuer)?;
    let peer = shared.peer_soon(&issuer).await.ok_or(ApiError::UnknownNode)?;
    check_proof(shared, &peer, Proof::of(request.headers()).as_ref())?;
    let answer = authorize(
        live.cluster.signing(),
        &shared.id,
        &peer.id,
        BodyDigest::of(b""),
        &live.windows,
        shared.clock.wall(),
    );
    let answer = HeaderValue::try_from(answer).map_err(|_| ApiError::NoIssuer)?;
    Ok((issuer, answer))
}

/// Bytes a member may send ahead of what we have looked at: its round trip times its rate, 160 ms at 800 Mbit/s. We look at
/// everything at once, so hardly any are ever kept. Whoever is no member yet gets the 64 kB of the protocol.
const WINDOW: u32 = 16 << 20;

/// Longest frame: one super packet with its capsule around it.
const MAX_FRAME: u32 = 128 << 10;

/// Bytes of a request's head; a certificate may be in it.
const MAX_HEAD: u32 = 32 << 10;
