use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::server::Acceptor;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::{ServerState, router, streams};
use crate::tls::ALPN;

/// Binds the API port while the process still has the right to, before the runtime exists.
pub(crate) fn bind(address: IpAddr, port: u16) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(SocketAddr::new(address, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts connections for ever. At most [`MAX_CONNECTIONS`] at a time; further ones wait in the kernel's backlog.
pub(crate) async fn serve(state: ServerState, listener: TcpListener) -> Infallible {
    let router = router(state.clone());
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Of one connection, or no descriptors left: neither is a reason to stop.
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (state, router) = (state.clone(), router.clone());
        tokio::spawn(async move {
            if let Err(error) = converse(&state, stream, router).await {
                tracing::debug!(error = crate::logging::chain(&*error), "connection ended");
            }
            drop(permit);
        });
    }
}

async fn converse(
    state: &ServerState,
    stream: TcpStream,
    router: Router,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    prepare(&stream)?;
    let stream = timeout(HANDSHAKE_LIMIT, accept(state, stream)).await??;
    if stream.get_ref().1.alpn_protocol() == Some(ALPN) {
        return streams::serve(state, stream, HEADER_LIMIT).await;
    }
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await?;
    Ok(())
}

/// Has the kernel end the connection when the other end takes nothing of an answer, or is gone without a word.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(ANSWER_LIMIT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))
}

/// Shakes hands: over HTTP/2 with a client that wants that and nothing else, as ours do for streams; else without ALPN, as
/// the original does with everybody.
async fn accept(state: &ServerState, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let wants_stream = hello.client_hello().alpn().is_some_and(|names| names.eq([ALPN]));
    let tls = &state.shared.live.load_full().tls;
    let config = tls.stream_server.as_ref().filter(|_| wants_stream).unwrap_or(&tls.server);
    hello.into_stream(Arc::clone(config)).await
}

/// Connections served at once.
const MAX_CONNECTIONS: usize = 4096;

/// Time for a TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// Time until the head of the next request is complete; also the life of an idle connection. The original's clients
/// give a connection up after 10 s without use.
const HEADER_LIMIT: Duration = Duration::from_secs(30);

/// Time in which the other end must take more of an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Silence after which the kernel asks whether the other end is still there, and then again.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Bytes of one connection read ahead; a head longer than this is refused.
const MAX_BUFFER: usize = 256 << 10;

/// Pause after a failed accept, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
