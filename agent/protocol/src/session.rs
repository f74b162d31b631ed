//! How two nodes agree on a session secret: the reader of a direction makes it and sends it under an RSA key of the
//! sender.
//!
//! ```text
//! request   {"public_key":"<base64 of the SubjectPublicKeyInfo in DER>"}
//! response  {"id":"<token id>","secret":"<base64 of 64 bytes under RSA PKCS#1 v1.5>"}
//! ```
//!
//! The RSA is that of aws-lc-rs: the pure Rust `rsa` crate leaks its private key through timing (RUSTSEC-2023-0071), and
//! a node decrypts here what came over the network. The price is that a peer's key has 2048 to 8192 bits; the original
//! takes any.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey, PublicKey,
};
use base64_simd::{STANDARD, forgiving_decode_to_vec};
use serde::{Deserialize, Serialize};

use crate::{Secret, Token, json};

/// The RSA key under which peers send us the secrets we sign with.
pub struct SessionKey {
    private: Pkcs1PrivateDecryptingKey,
    request: Vec<u8>,
}

impl SessionKey {
    /// Makes a key of at least `bits`: 2048, 3072, 4096 or 8192, and 8192 at most. Takes from 0.1 s to many seconds.
    ///
    /// This and the encryption in [`answer_session`] draw from the random generator of the cryptography library.
    pub fn generate(bits: u32) -> Result<Self, SessionError> {
        let size = match bits {
            0..=2048 => KeySize::Rsa2048,
            2049..=3072 => KeySize::Rsa3072,
            3073..=4096 => KeySize::Rsa4096,
            4097.. => KeySize::Rsa8192,
        };
        Self::new(PrivateDecryptingKey::generate(size).map_err(|_| SessionError::Generate)?)
    }

    /// Takes a key in PKCS#8 DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SessionError> {
        Self::new(PrivateDecryptingKey::from_pkcs8(der).map_err(|_| SessionError::Key)?)
    }

    /// The request body that asks a peer for a secret.
    pub fn request_json(&self) -> &[u8] {
        &self.request
    }

    /// Reads a peer's response and returns the token to sign our messages to it with.
    pub fn open(&self, response: &[u8]) -> Result<Token, SessionError> {
        let response: Response = serde_json::from_slice(response).map_err(|source| SessionError::Json { source })?;
        if response.id.is_empty() || response.id.len() > MAX_ID_LEN {
            return Err(SessionError::Id { len: response.id.len() });
        }
        let sealed = forgiving_decode_to_vec(response.secret.as_bytes()).map_err(|_| SessionError::Base64)?;
        let mut plain = vec![0; self.private.min_output_size()];
        let len = self.private.decrypt(&sealed, &mut plain).map_err(|_| SessionError::Decrypt)?.len();
        plain.truncate(len);
        let secret = Secret::from_bytes(plain);
        if len < MIN_SECRET_LEN {
            return Err(SessionError::SecretLength { len });
        }
        Ok(Token::session(&response.id, &secret))
    }

    fn new(private: PrivateDecryptingKey) -> Result<Self, SessionError> {
        let public: PublicKeyX509Der<'_> = private.public_key().as_der().map_err(|_| SessionError::Key)?;
        let request = Request { public_key: Cow::Owned(STANDARD.encode_to_string(public.as_ref())) };
        let request = json::write(&request);
        Ok(Self { private: Pkcs1PrivateDecryptingKey::new(private).map_err(|_| SessionError::Key)?, request })
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({} bits, redacted)", self.private.key_size_bits())
    }
}

/// Answers a peer's request with a new secret, given as random bytes by the caller, under the name `token_id`.
///
/// Returns the response body and the token that the peer will sign with. As in the original the key may be
/// SubjectPublicKeyInfo or PKCS#1, as DER or as PEM, the base64 around it may be wrapped, and other fields are ignored.
pub fn answer_session(request: &[u8], token_id: &str, secret: &[u8; 64]) -> Result<(Vec<u8>, Token), SessionError> {
    let request: Request<'_> = serde_json::from_slice(request).map_err(|source| SessionError::Json { source })?;
    let key = forgiving_decode_to_vec(request.public_key.as_bytes()).map_err(|_| SessionError::Base64)?;
    let key = Pkcs1PublicEncryptingKey::new(public_key(&key)?).map_err(|_| SessionError::Key)?;

    let mut sealed = vec![0; key.ciphertext_size()];
    let sealed = key.encrypt(secret, &mut sealed).map_err(|_| SessionError::Encrypt)?;
    let response = Response { id: token_id.into(), secret: STANDARD.encode_to_string(sealed) };
    let response = json::write(&response);
    Ok((response, Token::session(token_id, &Secret::from_bytes(secret.to_vec()))))
}

/// Why two nodes have no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The key or the secret is no base64.
    #[error("not base64")]
    Base64,
    /// The secret was not encrypted for this key.
    #[error("failed to decrypt the session secret")]
    Decrypt,
    /// The library refused to encrypt for the peer's key.
    #[error("failed to encrypt the session secret")]
    Encrypt,
    /// The library could not make a key.
    #[error("failed to generate an RSA key")]
    Generate,
    /// The token id is empty or too long.
    #[error("a token id has 1 to {MAX_ID_LEN} bytes, found {len}")]
    Id {
        /// Length found, in bytes.
        len: usize,
    },
    /// Not JSON, or a field is missing or no text.
    #[error("failed to read the session exchange")]
    Json {
        /// What the parser says; it quotes no values.
        source: serde_json::Error,
    },
    /// Not an RSA key of 2048 to 8192 bits.
    #[error("not an RSA key of 2048 to 8192 bits")]
    Key,
    /// The secret is too short to authenticate anything.
    #[error("a session secret has at least {MIN_SECRET_LEN} bytes, found {len}")]
    SecretLength {
        /// Length found, in bytes.
        len: usize,
    },
}

#[derive(Deserialize, Serialize)]
struct Request<'a> {
    #[serde(borrow)]
    public_key: Cow<'a, str>,
}

#[derive(Deserialize, Serialize)]
struct Response {
    id: String,
    secret: String,
}

/// Reads SubjectPublicKeyInfo or PKCS#1, as DER or as PEM.
fn public_key(bytes: &[u8]) -> Result<PublicEncryptingKey, SessionError> {
    let der = if memchr::memmem::find(bytes, b"-----BEGIN ").is_some() {
        Cow::Owned(pem::parse(bytes).map_err(|_| SessionError::Key)?.into_contents())
    } else {
        Cow::Borrowed(bytes)
    };
    let key = PublicKey::from_der(&der).map_err(|_| SessionError::Key)?;
    let info: PublicKeyX509Der<'_> = key.as_der().map_err(|_| SessionError::Key)?;
    PublicEncryptingKey::from_der(info.as_ref()).map_err(|_| SessionError::Key)
}

/// Longest token id taken, in bytes; a UUID has 36. It stands in every message, so a peer could inflate those.
const MAX_ID_LEN: usize = 128;

/// Shortest session secret taken, in bytes: the output of the HMAC it keys. All known nodes send 64.
const MIN_SECRET_LEN: usize = 32;
