//! Sessions as the peers of the recordings keep them: with the secret at hand, to sign right and wrong.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use base64_simd::STANDARD;
use serde_json::{Value, json};

/// One direction between two nodes.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) secret: Vec<u8>,
}

/// The RSA key of all peers.
pub(crate) struct PeerKey {
    private: Pkcs1PrivateDecryptingKey,
    request: Vec<u8>,
}

impl PeerKey {
    pub(crate) fn from_pkcs8(der: &[u8]) -> Self {
        let private = PrivateDecryptingKey::from_pkcs8(der).unwrap();
        let public: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
        let request = json!({"public_key": STANDARD.encode_to_string(public.as_ref())}).to_string().into_bytes();
        Self { private: Pkcs1PrivateDecryptingKey::new(private).unwrap(), request }
    }

    /// The body that asks for a session.
    pub(crate) fn request(&self) -> &[u8] {
        &self.request
    }

    /// The session in an answer; `None` if it was not sealed for this key.
    pub(crate) fn open(&self, answer: &[u8]) -> Option<Session> {
        let answer: Value = serde_json::from_slice(answer).ok()?;
        let sealed = STANDARD.decode_to_vec(answer["secret"].as_str()?).ok()?;
        let mut plain = vec![0; self.private.min_output_size()];
        let secret = self.private.decrypt(&sealed, &mut plain).ok()?.to_vec();
        Some(Session { id: answer["id"].as_str()?.to_owned(), secret })
    }
}
