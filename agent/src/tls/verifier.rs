use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Decides whether the node at the other end may show this certificate.
///
/// A certificate is taken if it *is* one of the anchors, byte for byte, and is within its validity, or if it chains to
/// one of them. The first way serves the original's set-up, where one self-signed CA:TRUE certificate is leaf and
/// anchor at once, which RFC 5280 path validation (and webpki) refuses. Host names are compared only on request, as
/// advertised URLs are expected to change.
#[derive(Debug)]
pub(crate) struct MeshVerifier {
    anchors: Vec<CertificateDer<'static>>,
    roots: Vec<TrustAnchor<'static>>,
    verify_hostname: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl MeshVerifier {
    pub(crate) fn new(anchors: Vec<CertificateDer<'static>>, verify_hostname: bool, provider: &CryptoProvider) -> Self {
        // An anchor webpki cannot use as a root may still be shown as a leaf, so it stays in `anchors`.
        let roots =
            anchors.iter().filter_map(|anchor| Some(anchor_from_trusted_cert(anchor).ok()?.to_owned())).collect();
        Self { anchors, roots, verify_hostname, algorithms: provider.signature_verification_algorithms }
    }

    fn verify_chain(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        leaf.verify_for_usage(self.algorithms.all, &self.roots, intermediates, now, KeyUsage::server_auth(), None, None)
            .map(|_path| ())
            .map_err(certificate_error)
    }
}

impl ServerCertVerifier for MeshVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = EndEntityCert::try_from(end_entity).map_err(certificate_error)?;
        if self.anchors.iter().any(|anchor| anchor == end_entity) {
            within_validity(end_entity, now)?;
        } else {
            self.verify_chain(&leaf, intermediates, now)?;
        }
        if self.verify_hostname {
            leaf.verify_is_valid_for_subject_name(server_name).map_err(certificate_error)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn within_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is webpki's and open-ended; other reasons are kept as cause"
)]
fn certificate_error(error: webpki::Error) -> Error {
    let reason = match error {
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidForName(_) => CertificateError::NotValidForName,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        // A foreign CA certificate shown as a leaf: what is wrong is that we do not know it.
        webpki::Error::CaUsedAsEndEntity | webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        other => CertificateError::Other(rustls::OtherError(std::sync::Arc::new(other))),
    };
    reason.into()
}
