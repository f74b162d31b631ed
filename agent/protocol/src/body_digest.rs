use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::hex;

/// SHA-256 of the exact bytes of an HTTP body, which the `sig` claim of a token binds it to.
///
/// On the wire `0/` and 64 lower-case hex digits. The original also has a form `1/` with the MD5 of a packet, which it
/// never sends and refuses to accept; so do we.
#[derive(Clone, Copy, Debug)]
pub struct BodyDigest([u8; 32]);

impl BodyDigest {
    /// Hashes `body`.
    pub fn of(body: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, body).as_ref());
        Self(bytes)
    }

    /// Reads the value of a `sig` claim.
    pub(crate) fn from_claim(claim: &str) -> Option<Self> {
        hex::decode(claim.strip_prefix(PREFIX)?.as_bytes()).map(Self)
    }

    /// The value of a `sig` claim.
    pub(crate) fn to_claim(self) -> String {
        let mut text = [0; 64];
        let digits = std::str::from_utf8(hex::encode(&self.0, &mut text)).expect("hex digits are ASCII");
        [PREFIX, digits].concat()
    }
}

impl PartialEq for BodyDigest {
    /// Compares in constant time.
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for BodyDigest {}

/// Names the hash in a `sig` claim.
const PREFIX: &str = "0/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claim_of_an_empty_body_is_that_of_the_original() {
        let claim = "0/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

        assert_eq!(BodyDigest::of(b"").to_claim(), claim);
        assert_eq!(BodyDigest::from_claim(claim), Some(BodyDigest::of(b"")));
    }

    #[test]
    fn other_forms_are_no_claim() {
        for claim in
            ["", "0/", "1/b6178bf389be8fea73c8e3330f108457", "0/E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934C"]
        {
            assert_eq!(BodyDigest::from_claim(claim), None, "{claim}");
        }
    }
}
