use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tunmesh_membership::RefusedRecord;
use tunmesh_protocol::ControlUrl;

use crate::further;
use crate::tls::{CertificateIdentity, PROOF, Tls};

/// Requests to one node over one kept-alive connection, which is renewed after 10 s without use or when its URL changes.
///
/// A request on a kept connection that the peer closed meanwhile is sent again on a new one; one that a new connection
/// drops is sent once more, as the original does. So a request may be sent three times.
#[derive(Default)]
pub(crate) struct Channel {
    idle: Mutex<Option<Idle>>,
    /// Whose certificate is wanted at the other end, where members have one for their address.
    member: Option<Ipv4Addr>,
}

struct Idle {
    connection: Connection,
    url: ControlUrl,
    used_at: Instant,
}

/// An open connection and what the other end showed on it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    certificate: Option<CertificateDer<'static>>,
}

impl Channel {
    /// To the member with this address; no other one is told anything where certificates name addresses.
    pub(crate) fn to_member(address: Ipv4Addr) -> Self {
        Self { member: Some(address), ..Self::default() }
    }

    /// Sends one request and reads the whole answer. `limit` bounds connecting and answering, each.
    pub(crate) async fn send(
        &self,
        url: &ControlUrl,
        call: &Call<'_>,
        tls: &Tls,
        limit: Duration,
    ) -> Result<Reply, RequestError> {
        let mut idle = self.idle.lock().await;
        let is_usable =
            |kept: &Idle| kept.url == *url && kept.used_at.elapsed() < IDLE_LIMIT && kept.connection.sender.is_ready();
        let keep = |connection| Idle { connection, url: url.clone(), used_at: Instant::now() };
        if let Some(Idle { mut connection, .. }) = idle.take().filter(is_usable) {
            match exchange(&mut connection, url, call, limit).await {
                Err(RequestError::Dropped { .. }) => {}
                outcome => {
                    *idle = outcome.is_ok().then(|| keep(connection));
                    return outcome;
                }
            }
        }
        let mut connection = open(url, tls, self.member, limit).await?;
        let mut outcome = exchange(&mut connection, url, call, limit).await;
        if matches!(outcome, Err(RequestError::Dropped { .. })) {
            connection = open(url, tls, self.member, limit).await?;
            outcome = exchange(&mut connection, url, call, limit).await;
        }
        *idle = outcome.is_ok().then(|| keep(connection));
        outcome
    }
}

/// What to ask.
pub(crate) struct Call<'a> {
    /// `Authorization` header, if the route wants one.
    pub(crate) authorization: Option<&'a str>,
    /// JSON body; a call without one is a GET.
    pub(crate) body: Option<Bytes>,
    /// Path, starting with a slash.
    pub(crate) path: &'a str,
    /// [`PROOF`] header, where members have certificates for their addresses.
    pub(crate) proof: Option<&'a str>,
}

/// A complete answer, decoded if it was gzip.
pub(crate) struct Reply {
    /// Value of the `Authorization` header.
    pub(crate) authorization: Option<Vec<u8>>,
    /// Value of the header with further addresses.
    pub(crate) further: Option<Vec<u8>>,
    /// The body, at most [`MAX_REPLY`] bytes.
    pub(crate) body: Bytes,
    /// What the other end showed, verified as TLS wants it.
    pub(crate) certificate: Option<CertificateDer<'static>>,
    /// Whether the content type is `application/json`, parameters allowed.
    pub(crate) is_json: bool,
    pub(crate) status: StatusCode,
}

/// Opens a TLS connection to `url`. `limit` bounds TCP and TLS together.
pub(crate) async fn connect(
    url: &ControlUrl,
    tls: &Arc<ClientConfig>,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, RequestError> {
    let name = ServerName::try_from(url.host().to_owned())
        .map_err(|_| RequestError::Connect { url: url.clone(), source: io::ErrorKind::InvalidInput.into() })?;
    let dial = async {
        let stream = reach(url).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::clone(tls)).connect(name, stream).await
    };
    match timeout(limit, dial).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(RequestError::Connect { url: url.clone(), source }),
        Err(_) => Err(RequestError::Timeout { url: url.clone() }),
    }
}

/// Opens a TCP connection to `url`.
///
/// Of a name that leads to several nodes any is called, and this one last. In the resolver's order, most like our own
/// address first (RFC 6724, rule 9), each node would call itself, and parts of a mesh would never find each other.
async fn reach(url: &ControlUrl) -> io::Result<TcpStream> {
    let addresses = lookup_host((url.host(), url.port())).await?;
    let mut start = [0; 2];
    // Without randomness it is the resolver's first.
    let _unavailable = aws_lc_rs::rand::fill(&mut start);
    let mut failure = None;
    for address in in_order(addresses, is_own, usize::from(u16::from_ne_bytes(start))) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Each address once, beginning with that at `start`, counted around, and then those of this node.
///
/// An IPv4 address that is written as an IPv6 one (RFC 4291, section 2.5.5.2) is the same address.
fn in_order(
    addresses: impl IntoIterator<Item = SocketAddr>,
    is_own: impl Fn(SocketAddr) -> bool,
    start: usize,
) -> Vec<SocketAddr> {
    let mut once = Vec::new();
    for mut address in addresses {
        address.set_ip(address.ip().to_canonical());
        if !once.contains(&address) {
            once.push(address);
        }
    }
    let (own, mut others): (Vec<_>, Vec<_>) = once.into_iter().partition(|address| is_own(*address));
    let count = others.len().max(1);
    others.rotate_left(start % count);
    others.extend(own);
    others
}

/// Whether this node would call itself at that address: the kernel then sends from the same one. Nothing is sent for this.
fn is_own(address: SocketAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = || -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(address)?;
        Ok(socket.local_addr()?.ip())
    };
    // Where no route leads there is nobody, this node neither.
    source().is_ok_and(|source| source == address.ip())
}

/// Whether a connection just opened leads to the member with `address`, by the certificate shown there.
pub(crate) fn prove_member(
    stream: &TlsStream<TcpStream>,
    url: &ControlUrl,
    tls: &Tls,
    address: Ipv4Addr,
) -> Result<(), RequestError> {
    check(url, tls.identity.as_ref(), shown(stream), address)
}

/// Whether whoever showed `certificate` may have `address`; anybody may where that is not proven by certificates.
pub(super) fn check(
    url: &ControlUrl,
    identity: Option<&CertificateIdentity>,
    certificate: Option<&CertificateDer<'_>>,
    address: Ipv4Addr,
) -> Result<(), RequestError> {
    let Some(identity) = identity else {
        return Ok(());
    };
    let verdict =
        certificate.map_or(Err(RefusedRecord::UntrustedCertificate), |shown| identity.certifies(shown, address));
    verdict.map_err(|source| RequestError::NotCertified { url: url.clone(), address, source })
}

fn shown(stream: &TlsStream<TcpStream>) -> Option<&CertificateDer<'static>> {
    stream.get_ref().1.peer_certificates().and_then(|shown| shown.first())
}

async fn open(
    url: &ControlUrl,
    tls: &Tls,
    member: Option<Ipv4Addr>,
    limit: Duration,
) -> Result<Connection, RequestError> {
    let stream = connect(url, &tls.client, limit).await?;
    if let Some(address) = member {
        prove_member(&stream, url, tls, address)?;
    }
    let certificate = shown(&stream).cloned();
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|source| RequestError::Dropped { url: url.clone(), source })?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "control connection ended");
        }
    });
    Ok(Connection { sender, certificate })
}

async fn exchange(
    connection: &mut Connection,
    url: &ControlUrl,
    call: &Call<'_>,
    limit: Duration,
) -> Result<Reply, RequestError> {
    let answer = async {
        let response = connection
            .sender
            .send_request(request(url, call))
            .await
            .map_err(|source| RequestError::Dropped { url: url.clone(), source })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_REPLY)
            .collect()
            .await
            .map_err(|_| RequestError::Body { url: url.clone() })?
            .to_bytes();
        let body = decode(&head.headers, body).map_err(|_| RequestError::Body { url: url.clone() })?;
        Ok(Reply {
            authorization: head.headers.get(AUTHORIZATION).map(|value| value.as_bytes().to_vec()),
            body,
            further: head.headers.get(further::HEADER).map(|value| value.as_bytes().to_vec()),
            certificate: connection.certificate.clone(),
            is_json: is_json(&head.headers),
            status: head.status,
        })
    };
    timeout(limit, answer).await.unwrap_or_else(|_| Err(RequestError::Timeout { url: url.clone() }))
}

/// The original asks for `node_info` in absolute form and posts in origin form; both of ours do the same.
fn request(url: &ControlUrl, call: &Call<'_>) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().header(HOST, url.authority()).header("accept", "*/*");
    builder = match &call.body {
        Some(_) => builder.method(Method::POST).uri(call.path).header(CONTENT_TYPE, "application/json"),
        None => builder.method(Method::GET).uri(format!("https://{}{}", url.authority(), call.path)),
    };
    if let Some(authorization) = call.authorization {
        builder = builder.header(AUTHORIZATION, authorization);
    }
    if let Some(proof) = call.proof {
        builder = builder.header(PROOF, proof);
    }
    builder
        .body(Full::new(call.body.clone().unwrap_or_default()))
        .expect("every part is a valid URL, path or token by its type")
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence =
        headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Undoes `content-encoding: gzip`, which a proxy may add unasked; the signature covers the plain body.
fn decode(headers: &HeaderMap, body: Bytes) -> io::Result<Bytes> {
    if headers.get(CONTENT_ENCODING).is_none_or(|value| value.as_bytes() != b"gzip") {
        return Ok(body);
    }
    let mut plain = Vec::new();
    let bound = u64::try_from(MAX_REPLY).unwrap_or(u64::MAX);
    flate2::read::GzDecoder::new(&body[..]).take(bound + 1).read_to_end(&mut plain)?;
    if plain.len() > MAX_REPLY { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(plain.into()) }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("the answer of {url} is broken or over {MAX_REPLY} bytes")]
    Body { url: ControlUrl },
    #[error("failed to connect to {url}")]
    Connect { url: ControlUrl, source: io::Error },
    #[error("{url} closed the connection without an answer")]
    Dropped { url: ControlUrl, source: hyper::Error },
    #[error(
        "whoever listens at {url} has no certificate for {address} of the mesh (clustering.auth.address_certificates)"
    )]
    NotCertified { url: ControlUrl, address: Ipv4Addr, source: RefusedRecord },
    #[error("{url} did not answer in time")]
    Timeout { url: ControlUrl },
}

/// Idle time after which a kept connection is not used again (the original's `Keep-Alive` handling).
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// Largest answer read, in bytes: a registration of 10,000 members has about 2 MB.
const MAX_REPLY: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn every_other_node_is_called_once_and_this_one_last_wherever_it_begins() {
        let all = addresses(&["10.0.0.1:4567", "10.0.0.2:4567", "[2001:db8::3]:4567", "10.0.0.4:4567"]);
        for own in &all {
            let others: Vec<_> = all.iter().filter(|address| *address != own).copied().collect();
            for start in 0..2 * all.len() {
                let order = in_order(all.clone(), |address| address == *own, start);

                let mut expected = others.clone();
                expected.rotate_left(start % others.len());
                expected.push(*own);
                assert_eq!(order, expected, "{own} from {start}");
            }
        }
    }

    #[test]
    fn an_address_in_two_forms_is_called_once_and_known_as_ones_own() {
        let found = addresses(&["[::ffff:10.0.0.1]:4567", "10.0.0.1:4567", "10.0.0.2:4567", "10.0.0.2:4567"]);
        let [own, other] = addresses(&["10.0.0.1:4567", "10.0.0.2:4567"])[..] else { panic!("two addresses") };

        for start in 0..4 {
            assert_eq!(in_order(found.clone(), |address| address == own, start), [other, own], "{start}");
        }
    }

    #[test]
    fn one_address_is_called_be_it_ones_own_and_none_is_no_order() {
        let one = addresses(&["10.0.0.1:4567"]);
        for start in [0, 1, usize::from(u16::MAX)] {
            assert_eq!(in_order(one.clone(), |_| true, start), one);
            assert_eq!(in_order(one.clone(), |_| false, start), one);
            assert_eq!(in_order([], |_| true, start), []);
        }
    }

    #[test]
    fn an_address_of_this_host_is_its_own_and_others_are_not() {
        let [own, foreign] = addresses(&["127.0.0.1:4567", "192.0.2.1:4567"])[..] else { panic!("two addresses") };

        assert!(is_own(own));
        assert!(!is_own(foreign));
    }
}
