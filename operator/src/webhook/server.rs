//! HTTPS for the API server: HTTP/1.1 and HTTP/2 over TLS, with limits for everybody else who dials.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Accepts connections for ever. At most [`MAX_CONNECTIONS`] at a time; further ones wait in the kernel's backlog.
pub(super) async fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: Router,
    stopping: watch::Receiver<()>,
) -> Infallible {
    let acceptor = TlsAcceptor::from(config);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Of one connection, or no descriptors left: neither is a reason to stop.
                tracing::warn!(%error, "failed to accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, router, stopping) = (acceptor.clone(), router.clone(), stopping.clone());
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &acceptor, router, stopping).await {
                tracing::debug!(error = &*error, "connection ended");
            }
            drop(permit);
        });
    }
}

/// Ends all connections, each when its requests are answered.
pub(super) async fn finish(stop: watch::Sender<()>) {
    // Without a connection there is nobody to tell.
    let _ = stop.send(());
    if timeout(FINISH_LIMIT, stop.closed()).await.is_err() {
        tracing::warn!("connections of the webhook were cut off");
    }
}

async fn converse(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    router: Router,
    mut stopping: watch::Receiver<()>,
) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await??;
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = stopping.changed() => {}
        () = sleep(CONNECTION_LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    timeout(FINISH_LIMIT, connection).await?
}

/// Connections served at once; an API server needs a few.
const MAX_CONNECTIONS: usize = 512;

/// Requests of one connection at once, over HTTP/2.
const MAX_STREAMS: u32 = 256;

/// Time for a TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// Time until the head of the next request is complete.
const HEADER_LIMIT: Duration = Duration::from_secs(30);

/// After so long a connection takes no more requests, so that nobody keeps one who does not ask. API servers dial again.
const CONNECTION_LIFE: Duration = Duration::from_secs(5 * 60);

/// Time for the last requests; above the time that an API server waits for an answer.
const FINISH_LIMIT: Duration = Duration::from_secs(6);

/// Pause after a failed accept, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
