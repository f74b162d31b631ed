//! TLS 1.2 and 1.3 for both ends of the control API, from the `control_api.ssl` group of the file.

mod identity;
mod verifier;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tunmesh_protocol::config::Ssl;

use self::identity::IdentityError;
pub(crate) use self::identity::{CertificateIdentity, PROOF, Proof, node_id};
use self::verifier::MeshVerifier;

/// What both directions of TLS need, read once from the files the configuration names.
#[derive(Clone)]
pub(crate) struct Tls {
    /// Side that connects to other nodes. Trusts the CA file, or our own certificate file where none is given.
    pub(crate) client: Arc<ClientConfig>,
    /// Decides who may have which address, where members prove that by their certificates.
    pub(crate) identity: Option<CertificateIdentity>,
    /// Side that listens. Offers no ALPN protocol, as the original.
    pub(crate) server: Arc<ServerConfig>,
    /// Like `client`, for streams.
    pub(crate) stream: Arc<ClientConfig>,
    /// Like `server`, for clients that want HTTP/2 and nothing else; `None` where no streams are taken.
    pub(crate) stream_server: Option<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads certificate, key and trust anchors.
    pub(crate) fn load(ssl: &Ssl) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(&ssl.cert_file_path)?;
        let key = private_key(ssl)?;
        let anchors = match &ssl.ca_file_path {
            Some(path) => certificates(path)?,
            None => chain.clone(),
        };

        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|source| TlsError::Unusable { path: ssl.cert_file_path.clone(), source })?;
        let verifier = MeshVerifier::new(anchors, ssl.verify_hostname, &provider);
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Unusable { path: ssl.cert_file_path.clone(), source })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        client.enable_sni = true;
        let mut stream = client.clone();
        stream.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            client: Arc::new(client),
            identity: None,
            server: Arc::new(server),
            stream: Arc::new(stream),
            stream_server: None,
        })
    }

    /// The same, and a client that wants HTTP/2 and nothing else gets it, for streams.
    pub(crate) fn with_streams(mut self) -> Self {
        let mut server = ServerConfig::clone(&self.server);
        server.alpn_protocols = vec![ALPN.to_vec()];
        self.stream_server = Some(Arc::new(server));
        self
    }

    /// The same, and members must prove their addresses by certificates; ours must name all of `own`.
    pub(crate) fn load_with_identity(ssl: &Ssl, own: &[IpAddr]) -> Result<Self, TlsError> {
        Ok(Self { identity: Some(CertificateIdentity::load(ssl, own)?), ..Self::load(ssl)? })
    }
}

/// The private key of this node's certificate.
pub(crate) fn private_key(ssl: &Ssl) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(&ssl.key_file_path)
        .map_err(|source| TlsError::Pem { path: ssl.key_file_path.clone(), source })
}

/// The certificates of a PEM file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Pem { path: path.into(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { path: path.into() });
    }
    Ok(found)
}

/// Why the files of `control_api.ssl` cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The certificate does not prove what this node says of itself.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The file is readable PEM, but holds no certificate.
    #[error("no certificate in {}: it must hold at least one PEM block \"CERTIFICATE\"", path.display())]
    NoCertificate { path: PathBuf },
    /// The file cannot be read, or is not PEM.
    #[error("failed to read PEM from {}", path.display())]
    Pem { path: PathBuf, source: rustls_pki_types::pem::Error },
    /// Certificate and key do not fit, or are of an unsupported kind.
    #[error("failed to use the certificate in {} with its key", path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
}

#[cfg(test)]
mod tests;

/// What a node that speaks HTTP/2 on the port of the control API says so by (RFC 7301; RFC 9113, section 3.1).
pub(crate) const ALPN: &[u8] = b"h2";
