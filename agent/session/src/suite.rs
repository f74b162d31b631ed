/// The cryptography of a pair; both ends must be told the same one, it is never negotiated in band.
///
/// The handshake of both is `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`, with different prologues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// Ours, faster where the processor has AES instructions: packets are sealed with AEGIS-128L (RFC 10032), in the
    /// framing of WireGuard.
    ///
    /// Differs from [`ChaChaPoly`](Self::ChaChaPoly) on the wire in three points beside the cipher: byte 1 of a transport
    /// message holds flags, the header of a transport message is authenticated too, and mac1 is keyed under the label
    /// `mac1-tun`, so that an initiation of the other suite is told apart by its cheapest check.
    Aegis,
    /// WireGuard itself: its identifier is the prologue, and packets are sealed with ChaCha20-Poly1305.
    ChaChaPoly,
}

impl Suite {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::ChaChaPoly, Self::Aegis];

    pub(crate) fn prologue(self) -> &'static [u8] {
        match self {
            Self::Aegis => b"TunMesh v1",
            Self::ChaChaPoly => b"WireGuard v1 zx2c4 Jason@zx2c4.com",
        }
    }

    pub(crate) fn mac1_label(self) -> &'static [u8] {
        match self {
            Self::Aegis => b"mac1-tun",
            Self::ChaChaPoly => b"mac1----",
        }
    }
}

/// Messages after which a session is replaced (paper, section 6.1). Neither cipher asks for fewer: their nonces never
/// repeat, and neither wears off with the number of messages as a block cipher in counter mode does.
pub(crate) const REKEY_AFTER_MESSAGES: u64 = 1 << 60;

/// Messages after which a session is no longer used (paper, section 6.1).
pub(crate) const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
