use aws_lc_rs::aead::{Aad, LessSafeKey};
use aws_lc_rs::agreement::{self, UnparsedPublicKey};
use blake2::{Blake2s256, Digest};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::Zeroizing;

use crate::key::{KEY_LEN, PrivateKey};
use crate::transport_key::TAG_LEN;
use crate::transport_key::{chacha_poly, nonce as nonce_of};

/// What `snow` calculates with: X25519 and ChaCha20-Poly1305 of aws-lc-rs, BLAKE2s, and one ephemeral key drawn beforehand.
pub(super) struct Primitives {
    pub(super) ephemeral: Zeroizing<[u8; KEY_LEN]>,
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Drawn(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| Box::new(X25519::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        (*choice == HashChoice::Blake2s).then(|| Box::new(Blake2s(Blake2s256::new())) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        (*choice == CipherChoice::ChaChaPoly).then(|| Box::new(ChaChaPoly(None)) as Box<dyn Cipher>)
    }
}

/// Gives one ephemeral private key, once.
struct Drawn(Option<Zeroizing<[u8; KEY_LEN]>>);

impl Random for Drawn {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        match self.0.take() {
            Some(key) if dest.len() == KEY_LEN => dest.copy_from_slice(key.as_ref()),
            Some(_) | None => return Err(snow::Error::Rng),
        }
        Ok(())
    }
}

#[derive(Default)]
struct X25519 {
    private: Zeroizing<[u8; KEY_LEN]>,
    public: [u8; KEY_LEN],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    fn set(&mut self, private: &[u8]) {
        self.private.copy_from_slice(private);
        self.public = *PrivateKey::from_bytes(*self.private).public_key().as_bytes();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut private = Zeroizing::new([0; KEY_LEN]);
        rng.try_fill_bytes(private.as_mut())?;
        self.set(private.as_ref());
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.private.as_ref()
    }

    /// Fails where the result is all zero, as for points of small order (RFC 7748, section 6.1).
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let private = agreement::PrivateKey::from_private_key(&agreement::X25519, self.private.as_ref())
            .map_err(|_| snow::Error::Dh)?;
        let public = public.get(..KEY_LEN).ok_or(snow::Error::Dh)?;
        agreement::agree(&private, UnparsedPublicKey::new(&agreement::X25519, public), snow::Error::Dh, |secret| {
            out.get_mut(..KEY_LEN).ok_or(snow::Error::Dh)?.copy_from_slice(secret);
            Ok(())
        })
    }
}

struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..self.hash_len()].copy_from_slice(&std::mem::take(&mut self.0).finalize());
    }
}

/// Without a key until `snow` sets one.
struct ChaChaPoly(Option<LessSafeKey>);

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY_LEN]) {
        self.0 = Some(chacha_poly(key));
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (sealed, rest) = out.split_at_mut(plaintext.len());
        sealed.copy_from_slice(plaintext);
        let tag = self
            .0
            .as_ref()
            .and_then(|key| key.seal_in_place_separate_tag(nonce_of(nonce), Aad::from(authtext), sealed).ok())
            .expect("snow sets the key first, and a message is not too long");
        rest[..TAG_LEN].copy_from_slice(tag.as_ref());
        plaintext.len() + TAG_LEN
    }

    fn decrypt(&self, nonce: u64, authtext: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, snow::Error> {
        let (sealed, tag) =
            ciphertext.split_at_checked(ciphertext.len().saturating_sub(TAG_LEN)).ok_or(snow::Error::Decrypt)?;
        let key = self.0.as_ref().ok_or(snow::Error::Decrypt)?;
        let out = out.get_mut(..sealed.len()).ok_or(snow::Error::Decrypt)?;
        key.open_separate_gather(nonce_of(nonce), Aad::from(authtext), sealed, tag, out)
            .map_err(|_| snow::Error::Decrypt)?;
        Ok(sealed.len())
    }
}
