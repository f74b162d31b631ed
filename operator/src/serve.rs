//! What people and their tools ask an operator or a node helper about itself.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use futures::future::join;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;

/// Serves `/metrics`, `/healthz` and `/readyz` without TLS; nothing of it is secret. `/readyz` answers 200 once `ready` is
/// done.
///
/// # Errors
///
/// The port is taken.
pub async fn metrics(
    address: SocketAddr,
    registry: Registry,
    ready: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + 'static> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("failed to listen at {address} for metrics"))?;
    let is_ready = Arc::new(AtomicBool::new(false));
    let asked = is_ready.clone();
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(move || async move { text(&registry) }))
        .route(
            "/readyz",
            get(move || async move {
                if asked.load(Ordering::Relaxed) {
                    (StatusCode::OK, "ok\n")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "caches are not filled yet\n")
                }
            }),
        );
    Ok(async move {
        let filled = async {
            ready.await;
            is_ready.store(true, Ordering::Relaxed);
        };
        let (served, ()) = join(async { axum::serve(listener, router).await }, filled).await;
        served.context("the server of metrics ended")
    })
}

fn text(registry: &Registry) -> Result<String, StatusCode> {
    TextEncoder::new().encode_to_string(&registry.gather()).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}
