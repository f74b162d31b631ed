//! Routes without authentication, as in the original: nothing here is sensitive.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tunmesh_protocol::config::MonitoringMethod;
use tunmesh_protocol::{Implementation, ListedNode, NodeInfo, RegistrationListing};

use super::ServerState;
use super::error::{ApiError, not_found, text};
use crate::client::PIPELINING;
use crate::further::{self, FURTHER};
use crate::health::{self, Health};
use crate::metrics;
use crate::shared::Shared;
use crate::stream::STREAM;

/// `GET /health`: 200 if all is well, 503 if not, the same JSON either way.
pub(super) async fn health(State(state): State<ServerState>) -> Result<Response, ApiError> {
    let health = Health::of(&state.shared.owner.report().await?, state.device.is_up());
    let status = if health.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, JSON, serde_json::to_vec(&health).expect("plain structs serialize")).into_response())
}

/// `GET /ready`: 200 once the node is in the mesh, or alone in it as far as it can know; 503 before.
pub(super) async fn ready(State(state): State<ServerState>) -> Result<Response, ApiError> {
    let is_ready = health::is_ready(&state.shared.owner.report().await?, state.device.is_up());
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, JSON, format!("{{\"ready\":{is_ready}}}")).into_response())
}

/// `/metrics`, any method, where the file asks for Prometheus.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if shared.live.load().config.monitoring.method != MonitoringMethod::Prometheus {
        return not_found().await;
    }
    if !accepts_text(&headers) {
        return text(StatusCode::NOT_ACCEPTABLE, "Supported media types: text/plain");
    }
    match metrics::scrape(&shared).await {
        Ok(body) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], body).into_response(),
        Err(stopped) => ApiError::from(stopped).into_response(),
    }
}

/// `GET node_info`: who listens here, and where it is to be reached.
pub(super) async fn node_info(State(shared): State<Arc<Shared>>) -> Response {
    let live = shared.live.load();
    let has_streams = live.config.networking.data_plane.paths.stream;
    let has_further = !further::own(&shared).is_empty();
    let features = [Some(PIPELINING), has_streams.then_some(STREAM), has_further.then_some(FURTHER)];
    let features = features.into_iter().flatten().map(str::to_owned).collect();
    let info = NodeInfo {
        id: shared.id.clone(),
        listen_url: live.config.clustering.control_api_advertise_url.clone(),
        implementation: Some(Implementation {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features,
            endpoints: shared.endpoints.clone(),
        }),
    };
    (JSON, info.to_json()).into_response()
}

/// `GET registrations`: every member known here.
pub(super) async fn registrations(State(shared): State<Arc<Shared>>) -> Result<Response, ApiError> {
    let report = shared.owner.report().await?;
    let mut listing = RegistrationListing::default();
    for known in &report.members {
        // A member is removed the moment it is stale, so none that is listed ever is.
        listing.nodes.push(ListedNode { member: &known.member, stamp: known.stamp, stale: false });
        listing.owners.push((known.member.address.address(), &known.member.id));
    }
    Ok((JSON, listing.to_json()).into_response())
}

/// Whether plain text is among what the client takes (RFC 9110, section 12.5.1, weights of zero aside).
fn accepts_text(headers: &HeaderMap) -> bool {
    let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else {
        return true;
    };
    accept
        .split(',')
        .filter_map(|range| range.split(';').next())
        .any(|range| matches!(range.trim(), "*/*" | "text/*" | "text/plain"))
}

const JSON: [(axum::http::HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];
