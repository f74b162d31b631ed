use std::collections::BTreeSet;
use std::fmt::{self, Debug, Formatter};
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};
use zeroize::Zeroizing;

use super::authority::Authority;
use super::moment::{self, CLOCK_SKEW, between, earlier, later};
use super::names::{ia5, spiffe_id};
use super::{MeshName, TrustError};

/// What the certificate of one member is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRequest {
    /// The mesh.
    pub mesh: MeshName,
    /// Namespace of the `TunMeshMember`.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its mesh addresses, and those at which it is reached. Members check them.
    pub addresses: Vec<IpAddr>,
    /// DNS names at which it is reached.
    pub dns_names: Vec<String>,
    /// How long it is valid; less if its authority ends earlier.
    pub lifetime: Duration,
}

/// A certificate and its key. `Debug` shows no key.
pub struct Issued {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM (PKCS #8).
    pub private_key_pem: Zeroizing<String>,
    /// Its last moment.
    pub not_after: Timestamp,
    /// When to replace it: after two thirds of its life, and up to a tenth of its life earlier, as the name of the member
    /// decides, so that members that were made at once are not renewed at once.
    pub renew_at: Timestamp,
}

impl Debug for Issued {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("not_after", &self.not_after)
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

pub(super) fn issue(authority: &Authority, request: &LeafRequest, now: Timestamp) -> Result<Issued, TrustError> {
    let signed = sign(authority, &request.name, alternative_names(request)?, request.lifetime, now)?;
    Ok(Issued {
        renew_at: renewal(request, signed.not_before, signed.not_after),
        certificate_pem: signed.certificate_pem,
        private_key_pem: signed.private_key_pem,
        not_after: signed.not_after,
    })
}

/// A certificate and its key, both PEM.
pub(crate) struct SignedLeaf {
    pub(crate) certificate_pem: String,
    pub(crate) private_key_pem: Zeroizing<String>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// Makes a key, and signs a certificate of it for servers and clients with these alternative names.
pub(crate) fn sign(
    authority: &Authority,
    common_name: &str,
    names: Vec<SanType>,
    lifetime: Duration,
    now: Timestamp,
) -> Result<SignedLeaf, TrustError> {
    if now >= authority.not_after() {
        return Err(TrustError::AuthorityEnded { ended: authority.not_after() });
    }
    let not_before = earlier(now, CLOCK_SKEW).max(authority.not_before());
    let not_after = later(now, lifetime).min(authority.not_after());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TrustError::signing("make a key"))?;
    let mut params = CertificateParams::default();
    moment::set_validity(&mut params, not_before, not_after);
    params.subject_alt_names = names;
    params.distinguished_name = DistinguishedName::new();
    let common_name: String = common_name.chars().take(COMMON_NAME_LENGTH).collect();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let signed = params.signed_by(&key, &authority.issuer()?).map_err(TrustError::signing("sign a certificate"))?;
    let private_key_pem = Zeroizing::new(key.serialize_pem());
    Ok(SignedLeaf { certificate_pem: signed.pem(), private_key_pem, not_before, not_after })
}

pub(super) fn renew_at(authority: &Authority, request: &LeafRequest, pem: &[u8]) -> Option<Timestamp> {
    let certificate = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, parsed) = X509Certificate::from_der(&certificate).ok()?;
    let present = &parsed.subject_alternative_name().ok()??.value.general_names;
    let present: BTreeSet<_> = present.iter().map(Name::read).collect::<Option<_>>()?;
    if present != BTreeSet::from_iter(Name::all(request)) || authority_key_id(&parsed) != Some(authority.key_id()) {
        return None;
    }
    let [not_before, not_after] = moment::validity(&parsed)?;
    Some(renewal(request, not_before, not_after))
}

/// Two thirds of the life, or up to a tenth of it earlier.
fn renewal(request: &LeafRequest, not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    let start = later(not_before, CLOCK_SKEW);
    let life = between(start, not_after);
    let digest = digest(&SHA256, format!("{}/{}", request.namespace, request.name).as_bytes());
    let share = digest.as_ref().first().map_or(0, |byte| u32::from(*byte));
    later(start, life * 2 / 3 - life / 10 * share / 256)
}

fn alternative_names(request: &LeafRequest) -> Result<Vec<SanType>, TrustError> {
    let name = |name| match name {
        Name::Address(address) => Ok(SanType::IpAddress(address)),
        Name::Dns(name) => ia5(&name).map(SanType::DnsName),
        Name::Uri(uri) => ia5(&uri).map(SanType::URI),
    };
    Name::all(request).map(name).collect()
}

/// A name that the certificate of a member can have.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Address(IpAddr),
    Dns(String),
    Uri(String),
}

impl Name {
    fn all(request: &LeafRequest) -> impl Iterator<Item = Self> {
        let addresses = request.addresses.iter().copied().map(Self::Address);
        let dns_names = request.dns_names.iter().cloned().map(Self::Dns);
        iter::once(Self::Uri(spiffe_id(request))).chain(addresses).chain(dns_names)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is x509-parser's, and we write no other names")]
    fn read(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Self::Dns((*name).to_owned())),
            GeneralName::IPAddress(bytes) => address(bytes).map(Self::Address),
            GeneralName::URI(uri) => Some(Self::Uri((*uri).to_owned())),
            _ => None,
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into())).ok()
}

/// Identifies the key that signed the certificate (RFC 5280, section 4.2.1.1).
fn authority_key_id<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() else { return None };
        id.key_identifier.as_ref().map(|id| id.0)
    })
}

/// ub-common-name of RFC 5280, appendix A.1.
const COMMON_NAME_LENGTH: usize = 64;
