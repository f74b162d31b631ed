//! Cookies: who is asked too much answers with one, and works only for those who show it (paper, section 5.4.7).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::key::KEY_LEN;
use crate::mac::{LabelKey, MAC_LEN, Mac, mac};
use crate::random::Random;
use crate::wire::COOKIE_LEN;

/// What cookies are made from: a secret that changes every `cookie_refresh_time`.
pub(crate) struct CookieSecret {
    secret: Zeroizing<[u8; KEY_LEN]>,
    drawn: Option<Instant>,
}

impl CookieSecret {
    pub(crate) fn new() -> Self {
        Self { secret: Zeroizing::default(), drawn: None }
    }

    /// The cookie of `source` at this time.
    pub(crate) fn cookie(&mut self, source: SocketAddr, now: Instant, lifetime: Duration, random: &mut Random) -> Mac {
        if self.drawn.is_none_or(|drawn| now.saturating_duration_since(drawn) >= lifetime) {
            self.secret = random.key();
            self.drawn = Some(now);
        }
        let port = source.port().to_be_bytes();
        match source.ip() {
            IpAddr::V4(ip) => mac(self.secret.as_ref(), &[&ip.octets(), &port]),
            IpAddr::V6(ip) => mac(self.secret.as_ref(), &[&ip.octets(), &port]),
        }
    }
}

/// The cookie reply to the message with `mac1` from `receiver`, sealed under `key`.
pub(crate) fn reply(receiver: u32, cookie: &Mac, mac1: &Mac, key: &LabelKey, random: &mut Random) -> Vec<u8> {
    let mut datagram = vec![0; COOKIE_LEN];
    datagram[0] = 3;
    datagram[4..8].copy_from_slice(&receiver.to_le_bytes());
    let drawn = random.key();
    let (nonce, _) = drawn.split_at(NONCE_LEN);
    datagram[8..SEALED].copy_from_slice(nonce);
    datagram[SEALED..TAG].copy_from_slice(cookie);
    let nonce = XNonce::try_from(nonce).expect("cut to its length");
    let tag = cipher(key)
        .encrypt_inout_detached(&nonce, mac1, (&mut datagram[SEALED..TAG]).into())
        .expect("16 bytes are not too long");
    datagram[TAG..].copy_from_slice(&tag);
    datagram
}

/// The cookie in a reply to the message with `mac1`; `None` if it was not made by whoever `key` stands for.
pub(crate) fn open(datagram: &[u8], mac1: &Mac, key: &LabelKey) -> Option<Mac> {
    let mut cookie = [0; MAC_LEN];
    cookie.copy_from_slice(datagram.get(SEALED..TAG)?);
    let nonce = XNonce::try_from(datagram.get(8..SEALED)?).ok()?;
    let tag = Tag::try_from(datagram.get(TAG..COOKIE_LEN)?).ok()?;
    cipher(key).decrypt_inout_detached(&nonce, mac1, cookie.as_mut_slice().into(), &tag).ok()?;
    Some(cookie)
}

fn cipher(key: &LabelKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.as_bytes().into())
}

const NONCE_LEN: usize = 24;
const SEALED: usize = 8 + NONCE_LEN;
const TAG: usize = SEALED + MAC_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PrivateKey;

    #[test]
    fn a_cookie_reply_opens_only_for_the_message_and_the_sender_it_belongs_to() {
        let key = LabelKey::cookie(&PrivateKey::from_bytes([1; 32]).public_key());
        let other = LabelKey::cookie(&PrivateKey::from_bytes([2; 32]).public_key());
        let datagram = reply(7, &[3; 16], &[4; 16], &key, &mut Random::new([5; 32]));

        assert_eq!(open(&datagram, &[4; 16], &key), Some([3; 16]));
        assert_eq!(open(&datagram, &[9; 16], &key), None);
        assert_eq!(open(&datagram, &[4; 16], &other), None);
    }

    #[test]
    fn a_cookie_is_good_for_one_address_until_the_secret_changes() {
        let (start, lifetime) = (Instant::now(), Duration::from_secs(120));
        let (mut secret, mut random) = (CookieSecret::new(), Random::new([1; 32]));
        let mut at = |source: &str, seconds| {
            secret.cookie(source.parse().unwrap(), start + Duration::from_secs(seconds), lifetime, &mut random)
        };
        let first = at("192.0.2.1:1000", 0);

        assert_eq!(at("192.0.2.1:1000", 119), first);
        assert_ne!(at("192.0.2.1:1001", 119), first);
        assert_ne!(at("[2001:db8::1]:1000", 119), first);
        assert_ne!(at("192.0.2.1:1000", 120), first);
    }
}
