//! The control API: HTTPS on one port for other nodes, health checks and metrics.

mod auth;
mod error;
mod listener;
mod open;
mod packets;
mod registrations;
mod sessions;
mod streams;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{any, get, post};

use crate::data::{Device, Relay};
use crate::shared::Shared;

pub(crate) use listener::{bind, serve};

/// What handlers work on.
#[derive(Clone)]
pub(crate) struct ServerState {
    pub(crate) device: Arc<Device>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) shared: Arc<Shared>,
}

impl FromRef<ServerState> for Arc<Shared> {
    fn from_ref(state: &ServerState) -> Self {
        Self::clone(&state.shared)
    }
}

/// All routes of the original. What is not one of them, method included, answers 404 as there.
pub(crate) fn router(state: ServerState) -> Router {
    Router::new()
        .route("/health", get(open::health))
        .route("/ready", get(open::ready))
        .route("/metrics", any(open::metrics))
        .route("/tunmesh/control/v0/node_info", get(open::node_info))
        .route("/tunmesh/control/v0/registrations", get(open::registrations))
        .route("/tunmesh/control/v0/registrations/register", post(registrations::by_cluster))
        .route("/tunmesh/control/v0/registrations/register/{id}", post(registrations::by_session))
        .route("/tunmesh/auth/v0/init_session", post(sessions::by_cluster))
        .route("/tunmesh/auth/v0/init_session/{id}", post(sessions::by_session))
        .route("/tunmesh/control/v0/packet/rx/{id}", post(packets::single))
        .route("/tunmesh/control/v0/packet/rx/{id}/batch", post(packets::batch))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::not_found)
        .layer(map_response(harden))
        .with_state(state)
}

async fn harden(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}
