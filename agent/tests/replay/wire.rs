//! HTTP/1.1 over TLS at the level of bytes, from the namespace of the peers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, ClientConnection, ServerConfig, StreamOwned, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tunmesh_sys::netns::Netns;

use crate::support::https::AnyCertificate;

/// A request or an answer.
pub(crate) struct Message {
    /// Request line or status line.
    pub(crate) start: String,
    /// In their order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// An established TLS connection to an agent.
pub(crate) type Connection = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// Makes sockets in a namespace, wherever it is called.
pub(crate) struct Underlay(Netns);

impl Underlay {
    pub(crate) fn of(netns: &Netns) -> Arc<Self> {
        let path = format!("/proc/self/fd/{}", netns.as_fd().as_raw_fd());
        Arc::new(Self(Netns::open(Path::new(&path)).unwrap()))
    }

    pub(crate) fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let stream = self.0.run(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        self.0
            .run(|| TcpListener::bind(("0.0.0.0", port)))
            .unwrap()
            .unwrap_or_else(|error| panic!("port {port}: {error}"))
    }

    pub(crate) fn connect(&self, to: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Connection> {
        let mut stream = self.dial(to)?;
        let mut tls = ClientConnection::new(config, ServerName::from(to.ip())).map_err(io::Error::other)?;
        tls.complete_io(&mut stream)?;
        Ok(BufReader::new(StreamOwned::new(tls, stream)))
    }

    /// Sends one request on a connection of its own and reads the answer.
    pub(crate) fn ask(&self, to: SocketAddr, request: &[u8]) -> io::Result<Message> {
        let mut connection = self.connect(to, client_tls(&version::TLS13, &[]))?;
        connection.get_mut().write_all(request)?;
        let is_head = request.starts_with(b"HEAD ");
        Message::read(&mut connection, is_head)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Asks with GET and no token.
    pub(crate) fn get(&self, to: SocketAddr, path: &str) -> io::Result<Message> {
        self.ask(to, format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())
    }
}

impl Message {
    /// Reads the next message; `None` if the other side is done.
    pub(crate) fn read(from: &mut impl BufRead, without_body: bool) -> io::Result<Option<Self>> {
        let start = line(from)?;
        if start.is_empty() {
            return Ok(None);
        }
        let mut message = Self { start, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = line(from)?;
            let Some((name, value)) = line.split_once(':') else { break };
            message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let is_answer = message.start.starts_with("HTTP/");
        let len = message.header("content-length").map(|len| len.parse().unwrap());
        match len {
            _ if without_body || (is_answer && message.status() == 204) => {}
            Some(len) => {
                message.body = vec![0; len];
                from.read_exact(&mut message.body)?;
            }
            None if is_answer => {
                let _closed_without_goodbye = from.read_to_end(&mut message.body);
            }
            None => {}
        }
        Ok(Some(message))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Second word of the status line.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default()
    }
}

/// Our side of a connection to an agent, whose certificate is not what is tested here.
pub(crate) fn client_tls(version: &'static SupportedProtocolVersion, alpn: &[&str]) -> Arc<ClientConfig> {
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&[version]).unwrap().dangerous();
    let mut config = builder.with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A peer's side, with the certificate and key of these files.
pub(crate) fn server_tls(certificate: &Path, key: &Path) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<_, _>>().unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap())
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    if from.take(MAX_LINE).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// Longest wait for an agent's next byte.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

const MAX_LINE: u64 = 64 << 10;
