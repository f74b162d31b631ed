use aws_lc_rs::aead::{AES_256_GCM, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, UnboundKey};

use crate::key::KEY_LEN;

/// The cryptography of a pair; both ends must be told the same one, it is never negotiated in band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// `Noise_IKpsk2_25519_AESGCM_BLAKE2s` with the prologue `TunMesh v1` in the framing of WireGuard: faster where the CPU
    /// knows AES.
    ///
    /// Differs from [`ChaChaPoly`](Self::ChaChaPoly) on the wire in three points: byte 1 of a transport message holds flags,
    /// the header of a transport message is authenticated too, and mac1 is keyed under the label `mac1-gcm`, so that an
    /// initiation of the other suite is told apart by its cheapest check.
    AesGcm,
    /// WireGuard itself: `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s` with its identifier as the prologue.
    ChaChaPoly,
}

impl Suite {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::ChaChaPoly, Self::AesGcm];

    pub(crate) fn noise_name(self) -> &'static str {
        match self {
            Self::AesGcm => "Noise_IKpsk2_25519_AESGCM_BLAKE2s",
            Self::ChaChaPoly => "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s",
        }
    }

    pub(crate) fn prologue(self) -> &'static [u8] {
        match self {
            Self::AesGcm => b"TunMesh v1",
            Self::ChaChaPoly => b"WireGuard v1 zx2c4 Jason@zx2c4.com",
        }
    }

    pub(crate) fn mac1_label(self) -> &'static [u8] {
        match self {
            Self::AesGcm => b"mac1-gcm",
            Self::ChaChaPoly => b"mac1----",
        }
    }

    /// `key` made ready for the cipher.
    pub(crate) fn key(self, key: &[u8; KEY_LEN]) -> LessSafeKey {
        let cipher = match self {
            Self::AesGcm => &AES_256_GCM,
            Self::ChaChaPoly => &CHACHA20_POLY1305,
        };
        LessSafeKey::new(UnboundKey::new(cipher, key).expect("both ciphers take keys of 32 bytes"))
    }

    /// The nonce of message `counter`: four zero bytes, then the counter; big endian for AES-GCM, little endian for
    /// ChaCha20-Poly1305 (Noise, section 12).
    pub(crate) fn nonce(self, counter: u64) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&match self {
            Self::AesGcm => counter.to_be_bytes(),
            Self::ChaChaPoly => counter.to_le_bytes(),
        });
        nonce
    }

    /// Messages after which a session is replaced.
    ///
    /// 2^60 for ChaCha20-Poly1305 (paper, section 6.1). AES is a permutation of 128-bit blocks: s blocks under one key tell it
    /// from a random function with probability s^2 / 2^129. 2^36 datagrams of the greatest length, 2^12 blocks, keep that
    /// below the 2^-32 that NIST SP 800-38D asks for; with packets of 1,420 bytes it is 2^-44.
    pub(crate) fn rekey_after_messages(self) -> u64 {
        match self {
            Self::AesGcm => 1 << 36,
            Self::ChaChaPoly => 1 << 60,
        }
    }

    /// Messages after which a session is no longer used: 2^64 - 2^13 - 1 (paper, section 6.1); for AES-GCM the limit above
    /// and 2^32 for the time that a handshake takes, which leaves the probability below 2^-32.
    pub(crate) fn reject_after_messages(self) -> u64 {
        match self {
            Self::AesGcm => (1 << 36) + (1 << 32),
            Self::ChaChaPoly => u64::MAX - (1 << 13),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_stands_in_the_nonce_in_the_byte_order_of_the_cipher() {
        let counter = 0x0102_0304_0506_0708;

        assert_eq!(Suite::AesGcm.nonce(counter), [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(Suite::ChaChaPoly.nonce(counter), [0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn a_session_is_replaced_before_it_is_refused() {
        for suite in Suite::ALL {
            assert!(suite.rekey_after_messages() < suite.reject_after_messages(), "{suite:?}");
        }
        assert_eq!(Suite::ChaChaPoly.reject_after_messages(), 0xffff_ffff_ffff_dfff);
    }
}
