use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{Builder, Connection};
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tunmesh_protocol::{AuthError, BodyDigest, ControlUrl, NodeId, authorize, verify};

use super::{PATH, PROTOCOL};
use crate::client::{RequestError, connect, prove_member};
use crate::peers::Peer;
use crate::shared::{Live, Shared};
use crate::tls::ALPN;
use crate::tls::PROOF;

/// An open stream to a peer, and the connection that carries nothing else.
pub(super) struct OpenStream {
    pub(super) connection: Connection<TlsStream<TcpStream>, Bytes>,
    /// Ends when the peer has enough.
    pub(super) answer: RecvStream,
    pub(super) sending: SendStream<Bytes>,
}

/// Connects to `peer` and opens a stream there; both ends prove that they know the cluster secret.
pub(super) async fn open(shared: &Shared, peer: &Peer) -> Result<OpenStream, StreamError> {
    let (live, url) = (shared.live.load_full(), peer.url());
    let limit = live.request_timeout();
    let tls = connect(&url, &live.tls.stream, limit).await?;
    prove_member(&tls, &url, &live.tls, peer.address())?;
    if tls.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(StreamError::NotOffered { url });
    }
    let socket = SockRef::from(tls.get_ref().0);
    socket
        .set_tcp_notsent_lowat(UNSENT)
        .and_then(|()| socket.set_tcp_user_timeout(Some(limit)))
        .map_err(StreamError::Socket)?;
    timeout(limit, request(shared, &live, &url, &peer.id, tls)).await.unwrap_or(Err(StreamError::Timeout { url }))
}

async fn request(
    shared: &Shared,
    live: &Arc<Live>,
    url: &ControlUrl,
    peer: &NodeId,
    tls: TlsStream<TcpStream>,
) -> Result<OpenStream, StreamError> {
    let (mut sender, mut connection) =
        Builder::new().enable_push(false).max_send_buffer_size(SEND_BUFFER).handshake(tls).await?;
    driven(
        &mut connection,
        std::future::poll_fn(|_| match sender.is_extended_connect_protocol_enabled() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }),
    )
    .await?;
    let authorization =
        authorize(live.cluster.signing(), &shared.id, peer, BodyDigest::of(b""), &live.windows, shared.clock.wall());
    let proof = live.tls.identity.as_ref().map(|identity| (PROOF, identity.prove(&authorization)));
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri(format!("https://{}{PATH}", url.authority()))
        .extension(Protocol::from_static(PROTOCOL))
        .header("capsule-protocol", "?1")
        .header(AUTHORIZATION, authorization);
    if let Some((name, proof)) = proof {
        request = request.header(name, proof);
    }
    let request = request.body(()).expect("every part is a valid URL, path or token by its type");
    let (response, sending) = sender.send_request(request, false)?;
    let (head, answer) = driven(&mut connection, response).await??.into_parts();
    if head.status != StatusCode::OK {
        return Err(StreamError::Status { url: url.clone(), status: head.status });
    }
    check(shared, live, url, peer, &head.headers)?;
    Ok(OpenStream { connection, answer, sending })
}

/// Checks that it is the peer who answers, or at least a member.
fn check(
    shared: &Shared,
    live: &Live,
    url: &ControlUrl,
    peer: &NodeId,
    headers: &HeaderMap,
) -> Result<(), StreamError> {
    let unsigned = || StreamError::Unsigned { url: url.clone(), id: peer.clone() };
    let header = headers.get(AUTHORIZATION).ok_or_else(unsigned)?;
    let verified = verify(header.as_bytes(), &live.cluster.accepted(), &shared.id, shared.clock.wall())?;
    verified.matches(BodyDigest::of(b""))?;
    if verified.issuer.as_ref() != Some(peer) {
        return Err(unsigned());
    }
    Ok(())
}

/// Waits for `work` while the connection moves.
async fn driven<T>(
    connection: &mut Connection<TlsStream<TcpStream>, Bytes>,
    work: impl Future<Output = T>,
) -> Result<T, StreamError> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
            return Poll::Ready(Err(ended.map_or_else(StreamError::Http, |()| StreamError::Closed)));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// Why there is no stream to a peer, or no longer.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the signature of the answer does not hold")]
    Auth(#[from] AuthError),
    #[error("the peer closed the stream")]
    Closed,
    #[error(transparent)]
    Connect(#[from] RequestError),
    #[error("the stream broke off")]
    Http(#[from] h2::Error),
    #[error("{url} takes no streams")]
    NotOffered { url: ControlUrl },
    #[error("failed to prepare the socket")]
    Socket(#[source] io::Error),
    #[error("{url} answered {status}")]
    Status { url: ControlUrl, status: StatusCode },
    #[error("{url} did not open the stream in time")]
    Timeout { url: ControlUrl },
    #[error("{url} did not sign its answer as {id}")]
    Unsigned { url: ControlUrl, id: NodeId },
}

impl StreamError {
    /// Whether another attempt soon would end the same way.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::NotOffered { .. } => true,
            // 404: the peer does not know us yet.
            Self::Status { status, .. } => status.is_client_error() && *status != StatusCode::NOT_FOUND,
            Self::Auth(_)
            | Self::Closed
            | Self::Connect(_)
            | Self::Http(_)
            | Self::Socket(_)
            | Self::Timeout { .. }
            | Self::Unsigned { .. } => false,
        }
    }
}

/// Bytes the kernel takes ahead of what it has sent: what waits longer waits in our queue, which has a bound.
const UNSENT: u32 = 256 << 10;

/// Bytes of capsules between our queue and the TLS layer.
const SEND_BUFFER: usize = 256 << 10;
