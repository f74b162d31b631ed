//! A client of the control API that takes any certificate, to ask the open routes and to hold connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tunmesh_sys::netns::Netns;

/// `GET path` at `10.77.0.number:4567`, from inside `netns`: status and body.
pub(crate) fn get(netns: &Netns, number: usize, path: &str) -> (u16, String) {
    let mut stream = open(netns, number);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_ascii_lowercase().contains("chunked"), "{head}");
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// The certificate the node shows on a new connection.
pub(crate) fn certificate(netns: &Netns, number: usize) -> CertificateDer<'static> {
    let mut stream = open(netns, number);
    stream.conn.complete_io(&mut stream.sock).unwrap();
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

/// A TLS connection that has said nothing yet.
pub(crate) fn open(netns: &Netns, number: usize) -> StreamOwned<ClientConnection, TcpStream> {
    let address = address(number);
    let client = ClientConnection::new(Arc::new(config()), ServerName::from(address.ip())).unwrap();
    StreamOwned::new(client, dial(netns, number))
}

/// The protocol the node chooses among those offered by ALPN (RFC 7301), if it does.
pub(crate) fn negotiated(netns: &Netns, number: usize, offered: &[&[u8]]) -> Option<Vec<u8>> {
    let mut stream = dial(netns, number);
    let mut config = config();
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::from(address(number).ip())).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut stream).unwrap();
    }
    client.alpn_protocol().map(<[u8]>::to_vec)
}

/// A TCP connection to the API port.
pub(crate) fn dial(netns: &Netns, number: usize) -> TcpStream {
    let stream = netns.run(|| TcpStream::connect_timeout(&address(number), LIMIT)).unwrap().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// A client that takes any certificate and offers no ALPN protocol.
pub(crate) fn config() -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth()
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 77, 0, u8::try_from(number).unwrap()).into(), 4567)
}

/// Who the node is does not matter to these tests; that it has the key still does.
#[derive(Debug)]
pub(crate) struct AnyCertificate(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

const LIMIT: Duration = Duration::from_secs(10);
