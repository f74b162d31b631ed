use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use ::aws_lc_rs::digest::{SHA256, digest};
use base64_simd::URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use ipnet::IpNet;
use rustls::SignatureScheme;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::sign::SigningKey;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use tunmesh_membership::{Identity, Record, RefusedRecord, Signed, Signer};
use tunmesh_protocol::NodeId;
use tunmesh_protocol::config::Ssl;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::{TlsError, certificates, private_key};
use crate::clock::Clock;

/// Proves who has which address of the mesh (`clustering.auth.address_certificates`): every node has a certificate of its own,
/// signed directly by an authority of `control_api.ssl.ca_file_path`, with all its addresses as IP subject alternative names.
///
/// It signs the node's record in the gossip with the key of that certificate. A signature is the TLS number of its scheme
/// (2 bytes, big endian; RFC 8446, section 4.2.3) and then what that scheme makes.
#[derive(Clone)]
pub(crate) struct CertificateIdentity {
    certificate: CertificateDer<'static>,
    key: Arc<dyn SigningKey>,
    roots: Arc<[TrustAnchor<'static>]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl CertificateIdentity {
    /// Reads certificate, key and authorities, and makes sure that the certificate names all of `own`.
    pub(crate) fn load(ssl: &Ssl, own: &[IpAddr]) -> Result<Self, TlsError> {
        let (path, authority) = (ssl.cert_file_path.clone(), ssl.ca_file_path.clone().unwrap_or_default());
        let provider = aws_lc_rs::default_provider();
        let [certificate, ..] = &certificates(&path)?[..] else {
            return Err(TlsError::NoCertificate { path });
        };
        let unusable = |source| TlsError::Unusable { path: path.clone(), source };
        let key = provider.key_provider.load_private_key(private_key(ssl)?).map_err(unusable)?;
        let identity = Self::new(certificate.clone(), key, &certificates(&authority)?, &provider);
        identity.trusts(certificate, now()).map_err(|source| IdentityError::Untrusted {
            path: path.clone(),
            authority,
            source,
        })?;
        let missing: Vec<_> = own.iter().copied().filter(|address| !names(certificate, *address)).collect();
        if missing.is_empty() {
            Ok(identity)
        } else {
            Err(IdentityError::AddressesMissing { path, missing: Listed(missing), wanted: Listed(own.to_vec()) }.into())
        }
    }

    fn new(
        certificate: CertificateDer<'static>,
        key: Arc<dyn SigningKey>,
        authorities: &[CertificateDer<'static>],
        provider: &CryptoProvider,
    ) -> Self {
        let root = |authority| Some(anchor_from_trusted_cert(authority).ok()?.to_owned());
        let algorithms = provider.signature_verification_algorithms;
        Self { certificate, key, roots: authorities.iter().filter_map(root).collect(), algorithms }
    }

    /// Whether whoever has the key of `certificate` may have `address`, now.
    pub(crate) fn certifies(&self, certificate: &CertificateDer<'_>, address: Ipv4Addr) -> Result<(), RefusedRecord> {
        self.certifies_at(certificate, &[IpAddr::V4(address).into()], now())
    }

    /// The same for several addresses of either family.
    pub(crate) fn certifies_all(
        &self,
        certificate: &CertificateDer<'_>,
        addresses: &[IpAddr],
    ) -> Result<(), RefusedRecord> {
        let addresses: Vec<_> = addresses.iter().copied().map(IpNet::from).collect();
        self.certifies_at(certificate, &addresses, now())
    }

    /// The [`PROOF`] header of a request with this `Authorization` header.
    pub(crate) fn prove(&self, authorization: &str) -> String {
        let signature = self.signature(&request_message(authorization.as_bytes())).unwrap_or_default();
        [&self.certificate[..], &signature].map(|part| URL_SAFE_NO_PAD.encode_to_string(part)).join(".")
    }

    /// Whether the sender of a request has the key of a certificate for `address`.
    pub(crate) fn check(&self, proof: &Proof, address: Ipv4Addr) -> Result<(), RefusedRecord> {
        let (certificate, signature) = proof.value.split_once('.').ok_or(RefusedRecord::Malformed)?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode_to_vec(part).map_err(|_| RefusedRecord::Malformed);
        let (certificate, signature) = (CertificateDer::from(decoded(certificate)?), decoded(signature)?);
        self.certifies(&certificate, address)?;
        let message = request_message(proof.authorization.as_bytes());
        if self.is_signed(&certificate, &message, &signature) { Ok(()) } else { Err(RefusedRecord::BadSignature) }
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signer = self.key.choose_scheme(&self.algorithms.supported_schemes())?;
        let made =
            signer.sign(message).inspect_err(|error| tracing::error!(%error, "the key of the certificate fails"));
        Some([&u16::from(signer.scheme()).to_be_bytes()[..], &made.ok()?].concat())
    }

    fn certifies_at(
        &self,
        certificate: &CertificateDer<'_>,
        addresses: &[IpNet],
        at: UnixTime,
    ) -> Result<(), RefusedRecord> {
        self.trusts(certificate, at).map_err(|_| RefusedRecord::UntrustedCertificate)?;
        // A certificate names addresses, no networks.
        let is_named = |net: &IpNet| net.prefix_len() == net.max_prefix_len() && names(certificate, net.addr());
        match addresses.iter().find(|net| !is_named(net)) {
            None => Ok(()),
            Some(address) => Err(RefusedRecord::AddressNotCertified { address: *address }),
        }
    }

    /// No intermediate authorities, as a record has room for one certificate only.
    fn trusts(&self, certificate: &CertificateDer<'_>, at: UnixTime) -> Result<(), webpki::Error> {
        let usage = KeyUsage::server_auth();
        let leaf = EndEntityCert::try_from(certificate)?;
        leaf.verify_for_usage(self.algorithms.all, &self.roots, &[], at, usage, None, None).map(|_path| ())
    }

    fn verify_at(
        &self,
        record: &Record,
        signer: &Signer,
        message: &[u8],
        signature: &[u8],
        at: UnixTime,
    ) -> Result<(), RefusedRecord> {
        let Signer::Certificate(der) = signer else {
            return Err(RefusedRecord::WrongSigner);
        };
        let certificate = CertificateDer::from(der.as_slice());
        self.certifies_at(&certificate, &record.addresses, at)?;
        if !record.addresses.first().is_some_and(|own| belongs_to(&record.id, own.addr())) {
            return Err(RefusedRecord::IdNotCertified);
        }
        if self.is_signed(&certificate, message, signature) { Ok(()) } else { Err(RefusedRecord::BadSignature) }
    }

    fn is_signed(&self, certificate: &CertificateDer<'_>, message: &[u8], signature: &[u8]) -> bool {
        let Some((scheme, signature)) = signature.split_first_chunk() else {
            return false;
        };
        let scheme = SignatureScheme::from(u16::from_be_bytes(*scheme));
        let algorithms = self.algorithms.mapping.iter().filter(|(known, _)| *known == scheme).flat_map(|(_, all)| *all);
        EndEntityCert::try_from(certificate).is_ok_and(|leaf| {
            algorithms.into_iter().any(|algorithm| leaf.verify_signature(*algorithm, message, signature).is_ok())
        })
    }
}

impl Identity for CertificateIdentity {
    fn sign(&self, message: &[u8]) -> Signed {
        let signature = self.signature(message).unwrap_or_default();
        // Without a signature nobody takes the record.
        Signed { signer: Signer::Certificate(self.certificate.to_vec()), signature }
    }

    fn verify(&self, record: &Record, signer: &Signer, message: &[u8], signature: &[u8]) -> Result<(), RefusedRecord> {
        self.verify_at(record, signer, message, signature, now())
    }
}

impl fmt::Debug for CertificateIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateIdentity(redacted)")
    }
}

/// What a request shows of its sender beside the token.
pub(crate) struct Proof {
    authorization: String,
    value: String,
}

impl Proof {
    /// The proof in these headers, if there is one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(String::from);
        Some(Self { authorization: text(AUTHORIZATION.as_str())?, value: text(PROOF)? })
    }
}

/// A request is bound to its body and to its receiver by the token.
fn request_message(authorization: &[u8]) -> Vec<u8> {
    [b"tunmesh v1 request\0", authorization].concat()
}

/// A new id for the node with `own` address that nobody with another address can have: its second half is a hash of the first
/// half and the address. A certificate cannot name the id itself, as every start of a node makes a new one.
pub(crate) fn node_id(mut random: [u8; 8], own: IpAddr) -> NodeId {
    // As the form of a UUID has it, so that what is hashed is what others read.
    random[6] = (random[6] & 0x0f) | 0x40;
    let address = IpNet::from(own).to_string();
    let hash = digest(&SHA256, &[b"tunmesh node id\0", &random[..], address.as_bytes()].concat());
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random);
    bytes[8..].copy_from_slice(&hash.as_ref()[..8]);
    NodeId::from_random(bytes)
}

fn belongs_to(id: &NodeId, own: IpAddr) -> bool {
    let half: String = id.as_str().chars().filter(|character| *character != '-').take(16).collect();
    u64::from_str_radix(&half, 16).is_ok_and(|half| node_id(half.to_be_bytes(), own) == *id)
}

fn names(certificate: &CertificateDer<'_>, address: IpAddr) -> bool {
    let name = ServerName::from(address);
    EndEntityCert::try_from(certificate).is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(&name).is_ok())
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Clock.wall().since_epoch())
}

/// Why this node cannot prove that its addresses are its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// Others would refuse this node.
    #[error(
        "the certificate in {} does not name {missing}: issue it again with subjectAltName={wanted}, or turn off \
         clustering.auth.address_certificates", path.display()
    )]
    AddressesMissing { path: PathBuf, missing: Listed, wanted: Listed },
    /// Others would refuse this node.
    #[error(
        "the certificate in {} is not one that {} signed directly for a server and that is valid now \
         (clustering.auth.address_certificates)", path.display(), authority.display()
    )]
    Untrusted { path: PathBuf, authority: PathBuf, source: webpki::Error },
}

/// Addresses as openssl's `subjectAltName` takes them.
#[derive(Debug)]
pub(crate) struct Listed(Vec<IpAddr>);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            write!(f, "{}IP:{address}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Header of requests signed with the cluster token: certificate (DER) and signature of the `Authorization` header, both in
/// base64 for URLs, with a point between. The original ignores it.
pub(crate) const PROOF: &str = "tunmesh-proof";

#[cfg(test)]
mod tests;
