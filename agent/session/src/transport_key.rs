use aegis::aegis128l::Aegis128L;
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::key::KEY_LEN;
use crate::suite::Suite;

/// Bytes of a tag.
pub(crate) const TAG_LEN: usize = 16;

/// A key of one direction of a session.
pub(crate) enum TransportKey {
    /// The first half of the 32 bytes is the key. The second is added bit by bit to the counter, which makes the nonce, as
    /// TLS does (RFC 8446, section 5.3): whoever tries one key against many sessions at once gains nothing.
    Aegis {
        key: Zeroizing<[u8; HALF]>,
        mask: Zeroizing<[u8; HALF]>,
    },
    ChaChaPoly(LessSafeKey),
}

impl TransportKey {
    pub(crate) fn new(suite: Suite, key: &[u8; KEY_LEN]) -> Self {
        match suite {
            Suite::Aegis => {
                let (mut first, mut second) = (Zeroizing::new([0; HALF]), Zeroizing::new([0; HALF]));
                first.copy_from_slice(&key[..HALF]);
                second.copy_from_slice(&key[HALF..]);
                Self::Aegis { key: first, mask: second }
            }
            Suite::ChaChaPoly => Self::ChaChaPoly(chacha_poly(key)),
        }
    }

    /// Seals `plaintext` in place as message `counter` and returns the tag.
    pub(crate) fn seal(&self, counter: u64, authenticated: &[u8], plaintext: &mut [u8]) -> [u8; TAG_LEN] {
        match self {
            Self::Aegis { key, mask } => {
                Aegis128L::new(key, &masked(counter, mask)).encrypt_in_place(plaintext, authenticated)
            }
            Self::ChaChaPoly(key) => {
                let sealed = key.seal_in_place_separate_tag(nonce(counter), Aad::from(authenticated), plaintext);
                let mut tag = [0; TAG_LEN];
                tag.copy_from_slice(sealed.expect(SHORT_ENOUGH).as_ref());
                tag
            }
        }
    }

    /// Opens ciphertext and tag of message `counter` in place and returns the length of the plaintext; `None` if they are not
    /// what was sealed.
    pub(crate) fn open(&self, counter: u64, authenticated: &[u8], sealed: &mut [u8]) -> Option<usize> {
        match self {
            Self::Aegis { key, mask } => {
                let (ciphertext, tag) = sealed.split_last_chunk_mut::<TAG_LEN>()?;
                Aegis128L::new(key, &masked(counter, mask)).decrypt_in_place(ciphertext, tag, authenticated).ok()?;
                Some(ciphertext.len())
            }
            Self::ChaChaPoly(key) => {
                let opened = key.open_in_place(nonce(counter), Aad::from(authenticated), sealed);
                opened.ok().map(|plaintext| plaintext.len())
            }
        }
    }
}

/// `key` made ready for ChaCha20-Poly1305.
pub(crate) fn chacha_poly(key: &[u8; KEY_LEN]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("the cipher takes keys of 32 bytes"))
}

/// The nonce of message `counter` for ChaCha20-Poly1305: four zero bytes, then the counter, little endian (Noise, section 12).
pub(crate) fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// The nonce of message `counter` for AEGIS-128L: the counter, little endian, in the first eight bytes of the mask.
fn masked(counter: u64, mask: &[u8; HALF]) -> [u8; HALF] {
    (u128::from_le_bytes(*mask) ^ u128::from(counter)).to_le_bytes()
}

/// Bytes of a key, of a nonce and of a tag of AEGIS-128L.
const HALF: usize = KEY_LEN / 2;

const SHORT_ENOUGH: &str = "a datagram is shorter than what a cipher takes, 2^36 bytes";

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 10032, appendix "AEGIS-128L Test Vectors", number 3; its nonce as the mask, so that message 0 has it.
    #[test]
    fn aegis_is_that_of_its_specification() {
        let key = hex("1001000000000000000000000000000010000200000000000000000000000000");
        let key = TransportKey::new(Suite::Aegis, &key.try_into().unwrap());
        let authenticated = hex("0001020304050607");
        let plaintext: Vec<u8> = (0..32).collect();
        let mut sealed = plaintext.clone();

        let tag = key.seal(0, &authenticated, &mut sealed);

        assert_eq!(sealed, hex("79d94593d8c2119d7e8fd9b8fc77845c5c077a05b2528b6ac54b563aed8efe84"));
        assert_eq!(tag.to_vec(), hex("cc6f3372f6aa1bb82388d695c3962d9a"));
        sealed.extend(tag);
        assert_eq!(key.open(0, &authenticated, &mut sealed), Some(32));
        assert_eq!(sealed[..32], plaintext);
    }

    #[test]
    fn the_counter_is_part_of_the_nonce() {
        assert_eq!(masked(0x0102_0304_0506_0708, &[0; HALF])[..9], [8, 7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(masked(0xff, &[0xf0; HALF])[..2], [0x0f, 0xf0]);
        assert_eq!(nonce(0x0102_0304_0506_0708).as_ref(), &[0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn what_is_sealed_opens_once_unaltered_at_every_length() {
        for suite in Suite::ALL {
            let key = TransportKey::new(suite, &[7; KEY_LEN]);
            for len in [0, 1, 15, 16, 31, 32, 33, 100, 1420, 65_000] {
                let plaintext: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
                let mut sealed = plaintext.clone();
                let tag = key.seal(3, &[4; 16], &mut sealed);
                sealed.extend(tag);
                for byte in [0, len / 2, len, len + TAG_LEN - 1] {
                    let mut altered = sealed.clone();
                    altered[byte] ^= 1;
                    assert_eq!(key.open(3, &[4; 16], &mut altered), None, "{suite:?}, byte {byte} of {len}");
                }
                assert_eq!(key.open(4, &[4; 16], &mut sealed.clone()), None, "{suite:?}, another counter");
                assert_eq!(key.open(3, &[5; 16], &mut sealed.clone()), None, "{suite:?}, another header");
                assert_eq!(key.open(3, &[4; 16], &mut sealed), Some(len));
                assert_eq!(sealed[..len], plaintext);
            }
        }
        assert_eq!(TransportKey::new(Suite::Aegis, &[7; KEY_LEN]).open(0, &[], &mut [0; TAG_LEN - 1]), None);
    }

    fn hex(digits: &str) -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }
}
