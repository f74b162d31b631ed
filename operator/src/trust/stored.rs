//! Trust as the Secret of a mesh holds it: per generation the keys of [`Generation`], and beside the cluster secret when
//! it was made (RFC 3339).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use tunmesh_crds::names::Generation;

use super::TrustError;
use super::authority::Authority;
use super::cluster_secret::ClusterSecret;

type Data = BTreeMap<String, ByteString>;

pub(crate) fn authority(data: &Data, generation: Generation) -> Result<Option<Authority>, TrustError> {
    let [certificate_key, private_key] = [generation.authority_certificate(), generation.authority_private_key()];
    let Some([certificate, private]) = both(data, certificate_key, private_key)? else { return Ok(None) };
    let key = std::str::from_utf8(private)
        .ok()
        .and_then(|pem| KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256).ok())
        .ok_or_else(|| damaged(private_key, "a private key of ECDSA P-256 in PEM"))?;
    let authority = Authority::read(certificate, key)
        .ok_or_else(|| damaged(certificate_key, "the certificate of an authority in PEM"))?;
    if !authority.is_whole() {
        return Err(damaged(private_key, "the private key of its certificate"));
    }
    Ok(Some(authority))
}

pub(super) fn cluster_secret(data: &Data, generation: Generation) -> Result<Option<ClusterSecret>, TrustError> {
    let (key, created_key) = (generation.cluster_secret(), created_key(generation));
    let Some([base64, created]) = both(data, key, &created_key)? else { return Ok(None) };
    let created = std::str::from_utf8(created).ok().and_then(|text| text.parse::<Timestamp>().ok());
    let created = created.ok_or_else(|| damaged(&created_key, "a time such as 2026-01-31T12:00:00Z"))?;
    ClusterSecret::read(base64, created).map(Some).ok_or_else(|| damaged(key, "256 bits in base64"))
}

pub(crate) fn write_authority(data: &mut Data, generation: Generation, authority: &Authority) {
    put(data, generation.authority_certificate(), authority.certificate_pem());
    put(data, generation.authority_private_key(), &authority.private_key_pem());
}

pub(super) fn write_cluster_secret(data: &mut Data, generation: Generation, secret: &ClusterSecret) {
    put(data, generation.cluster_secret(), secret.base64());
    put(data, &created_key(generation), &secret.created().to_string());
}

/// The values of two keys of which there is none without the other.
fn both<'a>(data: &'a Data, first: &str, second: &str) -> Result<Option<[&'a [u8]; 2]>, TrustError> {
    let missing = |key: &str| TrustError::Missing { key: key.to_owned() };
    match (data.get(first), data.get(second)) {
        (Some(one), Some(two)) => Ok(Some([&one.0, &two.0])),
        (Some(_), None) => Err(missing(second)),
        (None, Some(_)) => Err(missing(first)),
        (None, None) => Ok(None),
    }
}

fn put(data: &mut Data, key: &str, value: &str) {
    data.insert(key.to_owned(), ByteString(value.as_bytes().to_vec()));
}

fn damaged(key: &str, wanted: &'static str) -> TrustError {
    TrustError::Damaged { key: key.to_owned(), wanted }
}

fn created_key(generation: Generation) -> String {
    format!("{}-created", generation.cluster_secret())
}
