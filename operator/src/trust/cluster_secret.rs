use std::fmt::{self, Debug, Formatter};

use base64_simd::STANDARD;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::TrustError;

/// 256 random bits that all members share.
pub(super) struct ClusterSecret {
    base64: Zeroizing<String>,
    created: Timestamp,
}

impl ClusterSecret {
    pub(super) fn generate(now: Timestamp) -> Result<Self, TrustError> {
        let mut secret = Zeroizing::new([0_u8; BYTES]);
        aws_lc_rs::rand::fill(secret.as_mut()).map_err(|_| TrustError::Randomness)?;
        Ok(Self { base64: Zeroizing::new(STANDARD.encode_to_string(secret.as_ref())), created: now })
    }

    /// Reads what was stored, or nothing if it is not the base64 of 256 bits.
    pub(super) fn read(base64: &[u8], created: Timestamp) -> Option<Self> {
        let decoded = Zeroizing::new(STANDARD.decode_to_vec(base64).ok()?);
        let base64 = Zeroizing::new(String::from_utf8(base64.to_vec()).ok()?);
        (decoded.len() == BYTES).then_some(Self { base64, created })
    }

    pub(super) fn base64(&self) -> &str {
        &self.base64
    }

    pub(super) fn created(&self) -> Timestamp {
        self.created
    }
}

impl Debug for ClusterSecret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSecret").field("created", &self.created).finish_non_exhaustive()
    }
}

const BYTES: usize = 32;
