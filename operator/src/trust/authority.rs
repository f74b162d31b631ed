use std::fmt::{self, Debug, Formatter};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};
use zeroize::Zeroizing;

use super::TrustError;
use super::moment::{self, CLOCK_SKEW};

/// A certificate authority with its key.
///
/// It signs no other authority: path length 0. It has no name constraints, since members have the addresses of their pods
/// and machines too, which nobody knows beforehand.
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: KeyPair,
    key_id: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Authority {
    /// A new one, made `now`. Its name begins with `name`; `names` are its alternative ones.
    pub(crate) fn generate(
        name: &str,
        names: Vec<SanType>,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Self, TrustError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TrustError::signing("make a key"))?;
        let mut params = CertificateParams::default();
        moment::set_validity(&mut params, moment::earlier(now, CLOCK_SKEW), moment::later(now, lifetime));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = names;
        params.distinguished_name = DistinguishedName::new();
        // Two authorities have two names, so that a verifier need not try both.
        let id: String = params.key_identifier(&key).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, format!("{name} {id}"));
        let certificate = params.self_signed(&key).map_err(TrustError::signing("sign the authority's certificate"))?;
        let made = Self::read(certificate.pem().as_bytes(), key);
        made.ok_or(rcgen::Error::CouldNotParseCertificate).map_err(TrustError::signing("read a new certificate"))
    }

    /// The authority of this certificate, PEM, and key; nothing if it is none.
    pub(crate) fn read(certificate_pem: &[u8], key: KeyPair) -> Option<Self> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem).ok()?;
        let (_, parsed) = X509Certificate::from_der(&certificate).ok()?;
        if !parsed.is_ca() {
            return None;
        }
        let key_id = subject_key_id(&parsed)?.to_vec();
        let [not_before, not_after] = moment::validity(&parsed)?;
        let certificate_pem = String::from_utf8(certificate_pem.to_vec()).ok()?;
        Some(Self { certificate, certificate_pem, key, key_id, not_before, not_after })
    }

    /// Whether the certificate is of the key.
    pub(crate) fn is_whole(&self) -> bool {
        X509Certificate::from_der(&self.certificate)
            .is_ok_and(|(_, parsed)| parsed.public_key().raw == self.key.subject_public_key_info())
    }

    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(crate) fn private_key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// Identifies its key in certificates it signs.
    pub(crate) fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    pub(crate) fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, TrustError> {
        Issuer::from_ca_cert_der(&self.certificate, &self.key)
            .map_err(TrustError::signing("read the authority's certificate"))
    }

    pub(crate) fn not_before(&self) -> Timestamp {
        self.not_before
    }

    pub(crate) fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub(crate) fn created(&self) -> Timestamp {
        moment::later(self.not_before, CLOCK_SKEW)
    }
}

impl Debug for Authority {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The key identifier of a certificate (RFC 5280, section 4.2.1.2), which stands in those that its key signs.
fn subject_key_id<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else { return None };
        Some(id.0)
    })
}
