use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement;
use base64_simd::{Out, STANDARD};
use zeroize::Zeroizing;

/// The static X25519 private key of a node: never printed, cleared from memory when dropped.
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<[u8; KEY_LEN]>);

impl PrivateKey {
    /// A new key from the randomness of the operating system.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`] if there is none.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// Takes over `bytes`; any 32 bytes are a key (RFC 7748, section 5).
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for whoever stores the key.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The public key that belongs to it.
    pub fn public_key(&self) -> PublicKey {
        let public = agreement::PrivateKey::from_private_key(&agreement::X25519, self.0.as_ref())
            .and_then(|key| key.compute_public_key().map_err(Into::into))
            .expect("any 32 bytes are an X25519 private key");
        let mut bytes = [0; KEY_LEN];
        bytes.copy_from_slice(public.as_ref());
        PublicKey(bytes)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

impl FromStr for PrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

/// The static X25519 public key of a node. As text it is base64, as in WireGuard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Any 32 bytes; that somebody knows the private key to them shows in the handshake.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes as they stand in a handshake.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode_to_string(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(|bytes| Self(*bytes))
    }
}

/// A secret that both ends of a pair know beside their keys, mixed into the handshake (paper, section 5.2): never printed,
/// cleared from memory when dropped.
#[derive(Clone)]
pub struct PresharedKey(Zeroizing<[u8; KEY_LEN]>);

impl PresharedKey {
    /// Takes over `bytes`. All zero is what WireGuard uses where there is none.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(redacted)")
    }
}

impl FromStr for PresharedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// The text is not the padded base64 (RFC 4648, section 4) of 32 bytes.
    #[error("a key is 32 bytes in base64, 44 characters")]
    NotBase64,
}

fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    if text.len() != KEY_TEXT_LEN {
        return Err(KeyError::NotBase64);
    }
    // One more than a key: so many bytes are in as many characters without padding.
    let mut decoded = Zeroizing::new([0; KEY_LEN + 1]);
    let bytes = STANDARD.decode(text.as_bytes(), Out::from_slice(decoded.as_mut())).map_err(|_| KeyError::NotBase64)?;
    let key = <[u8; KEY_LEN]>::try_from(&*bytes).map_err(|_| KeyError::NotBase64)?;
    Ok(Zeroizing::new(key))
}

/// Length of every key in bytes.
pub(crate) const KEY_LEN: usize = 32;

/// Length of the base64 of a key.
const KEY_TEXT_LEN: usize = 44;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748, section 6.1, Alice's keys; the base64 is that of `wg pubkey`.
    const PRIVATE: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    const PUBLIC: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    #[test]
    fn the_public_key_is_that_of_rfc_7748() {
        assert_eq!(PRIVATE.parse::<PrivateKey>().unwrap().public_key().to_string(), PUBLIC);
    }

    #[test]
    fn text_that_is_no_key_is_refused() {
        let (short, long) = (&PUBLIC[..40], format!("{PUBLIC}AAAA"));
        for text in ["", short, long.as_str(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTm==", &"!".repeat(44)] {
            assert_eq!(text.parse::<PublicKey>(), Err(KeyError::NotBase64), "{text}");
        }
        assert_eq!(PUBLIC.parse::<PublicKey>().map(|key| key.to_string()), Ok(PUBLIC.into()));
    }

    #[test]
    fn secrets_are_not_printed_and_generated_keys_differ() {
        let (a, b) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());

        assert_ne!(a.as_bytes(), b.as_bytes());
        assert_eq!(
            format!("{a:?} {:?}", PresharedKey::from_bytes([1; 32])),
            "PrivateKey(redacted) PresharedKey(redacted)"
        );
    }
}
