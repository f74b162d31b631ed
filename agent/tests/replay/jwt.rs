//! Tokens at the level of bytes, as good and as bad as the recorded ones.

use aws_lc_rs::{digest, hmac};
use base64_simd::URL_SAFE_NO_PAD;
use serde_json::Value;

/// A token taken apart.
pub(crate) struct Jwt<'a> {
    /// Header and claims as they were signed.
    signed: &'a str,
    pub(crate) header: String,
    pub(crate) claims: String,
    pub(crate) signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    /// `None` if the word is no token at all.
    pub(crate) fn parse(word: &'a str) -> Option<Self> {
        let (signed, signature) = word.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let text = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode_to_vec(part).ok()?).ok();
        let signature = URL_SAFE_NO_PAD.decode_to_vec(signature).ok()?;
        Some(Self { signed, header: text(header)?, claims: text(claims)?, signature })
    }

    /// The token of an Authorization header of the form `Bearer: <token>`.
    pub(crate) fn of_header(value: &'a str) -> Option<Self> {
        let (scheme, word) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer:").then(|| Self::parse(word))?
    }

    pub(crate) fn is_signed_with(&self, secret: &[u8]) -> bool {
        hmac::verify(&hmac::Key::new(self.algorithm(), secret), self.signed.as_bytes(), &self.signature).is_ok()
    }

    pub(crate) fn claim(&self, name: &str) -> Value {
        serde_json::from_str::<Value>(&self.claims).unwrap()[name].clone()
    }

    /// The same token with other claims, signed with `secret`; without a signature if it had none.
    pub(crate) fn with_claims(&self, claims: &str, secret: &[u8]) -> String {
        let signed = [&self.header, claims].map(|part| URL_SAFE_NO_PAD.encode_to_string(part)).join(".");
        let signature = if self.signature.is_empty() {
            String::new()
        } else {
            let tag = hmac::sign(&hmac::Key::new(self.algorithm(), secret), signed.as_bytes());
            URL_SAFE_NO_PAD.encode_to_string(tag)
        };
        format!("{signed}.{signature}")
    }

    fn algorithm(&self) -> hmac::Algorithm {
        if self.header.contains("HS512") { hmac::HMAC_SHA512 } else { hmac::HMAC_SHA256 }
    }
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(crate) fn md5_hex(parts: &[&[u8]]) -> String {
    use md5::{Digest, Md5};
    let digest = parts.iter().fold(Md5::new(), |md5, part| md5.chain_update(part));
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
