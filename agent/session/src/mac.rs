//! The two keyed BLAKE2s sums of 16 bytes that end an initiation and a response (paper, section 5.4.4).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use blake2::digest::consts::U16;
use blake2::digest::{Digest, FixedOutput, KeyInit, Update};
use blake2::{Blake2s256, Blake2sMac};

use crate::key::{KEY_LEN, PublicKey};
use crate::suite::Suite;

pub(crate) const MAC_LEN: usize = 16;

/// A sum, or a cookie, which is one.
pub(crate) type Mac = [u8; MAC_LEN];

/// A key that follows from a label and the public key of whoever receives the message.
#[derive(Clone, Copy)]
pub(crate) struct LabelKey([u8; KEY_LEN]);

impl LabelKey {
    /// Key of mac1 in messages to `receiver`.
    pub(crate) fn mac1(suite: Suite, receiver: &PublicKey) -> Self {
        Self::new(suite.mac1_label(), receiver)
    }

    /// Key under which `sender` of a cookie reply seals the cookie.
    pub(crate) fn cookie(sender: &PublicKey) -> Self {
        Self::new(b"cookie--", sender)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    fn new(label: &[u8], public: &PublicKey) -> Self {
        let hash = Blake2s256::new();
        Self(Digest::finalize(hash.chain_update(label).chain_update(public.as_bytes())).into())
    }
}

/// Fills in mac1, and mac2 if there is a cookie, of a whole `message`; returns mac1.
pub(crate) fn sign(message: &mut [u8], key: &LabelKey, cookie: Option<&Mac>) -> Mac {
    let (body, macs) = message.split_at_mut(message.len() - 2 * MAC_LEN);
    let mac1 = mac(key.as_bytes(), &[body]);
    macs[..MAC_LEN].copy_from_slice(&mac1);
    if let Some(cookie) = cookie {
        macs[MAC_LEN..].copy_from_slice(&mac(cookie, &[body, &mac1]));
    }
    mac1
}

/// Whether mac1 of `message` was made with `key`.
pub(crate) fn is_mac1_valid(message: &[u8], key: &LabelKey) -> bool {
    let (body, macs) = message.split_at(message.len() - 2 * MAC_LEN);
    verify_slices_are_equal(&macs[..MAC_LEN], &mac(key.as_bytes(), &[body])).is_ok()
}

/// Whether mac2 of `message` was made with `cookie`.
pub(crate) fn is_mac2_valid(message: &[u8], cookie: &Mac) -> bool {
    let (body, mac2) = message.split_at(message.len() - MAC_LEN);
    verify_slices_are_equal(mac2, &mac(cookie, &[body])).is_ok()
}

/// mac1 of an initiation or a response.
pub(crate) fn mac1_of(message: &[u8]) -> Mac {
    let mut mac1 = [0; MAC_LEN];
    let start = message.len() - 2 * MAC_LEN;
    mac1.copy_from_slice(&message[start..start + MAC_LEN]);
    mac1
}

/// Keyed BLAKE2s with 16 bytes of output over `parts` in order. The key has 1 to 32 bytes.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> Mac {
    let mut mac = Blake2sMac::<U16>::new_from_slice(key).expect("keys here are 16 or 32 bytes");
    for part in parts {
        mac.update(part);
    }
    mac.finalize_fixed().into()
}
