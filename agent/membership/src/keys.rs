use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use tunmesh_protocol::Secret;
use zeroize::Zeroizing;

use crate::key_id::KeyId;
use crate::nonce::{NONCE_LEN, SALT_LEN};
use crate::refused::Refused;

/// The cluster secrets of a node: datagrams are sealed with the current one and opened with any.
///
/// A datagram on the wire:
///
/// | Bytes | Field |
/// |---|---|
/// | 1 | [`DATAGRAM_TYPE`], no message type of WireGuard |
/// | 4 | [`KeyId`] |
/// | 9 | salt: random, made by each sender at its start and again after 2^24 datagrams |
/// | 3 | number of the datagram under that salt, big endian |
/// | n + 16 | AES-256-GCM ciphertext and tag; the 17 bytes before it are associated data |
///
/// The key is HKDF-SHA256 (RFC 5869) of the secret with `tunmesh v1 gossip` and the salt as info, the key id that with the
/// info `tunmesh v1 key id`; the nonce is salt and number. So every sender has a key of its own, and counts. Under one key
/// for all, random nonces would do for 2^32 datagrams only (NIST SP 800-38D, section 8.3): 16 days of 1,000 nodes at 3
/// datagrams per second.
#[derive(Debug)]
pub struct KeyRing {
    /// The current one first; never empty.
    keys: Vec<GossipKey>,
}

impl KeyRing {
    /// Derives the keys of `current` and of those still accepted.
    pub fn new(current: &Secret, previous: &[Secret]) -> Self {
        Self { keys: std::iter::once(current).chain(previous).map(GossipKey::derive).collect() }
    }

    /// The names of all its secrets, the current one first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(|key| key.id).collect()
    }

    /// Seals a datagram; `nonce` is the next of [`Nonces`](crate::nonce::Nonces).
    pub(crate) fn seal(&self, nonce: [u8; NONCE_LEN], plaintext: &[u8]) -> Vec<u8> {
        let key = &self.keys[0];
        let mut datagram = Vec::with_capacity(plaintext.len() + OVERHEAD);
        datagram.push(DATAGRAM_TYPE);
        datagram.extend(key.id.0);
        datagram.extend(nonce);
        let aad = Aad::from(<[u8; HEADER_LEN]>::try_from(datagram.as_slice()).expect("17 bytes were written"));
        datagram.extend(plaintext);
        let tag = key
            .of_sender(&nonce)
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut datagram[HEADER_LEN..])
            .expect("a datagram is shorter than what AES-GCM can seal");
        datagram.extend(tag.as_ref());
        datagram
    }

    /// The plaintext of a datagram.
    ///
    /// # Errors
    ///
    /// [`Refused::NotGossip`], [`Refused::UnknownKey`] or [`Refused::Unauthentic`].
    pub(crate) fn open(&self, datagram: &[u8]) -> Result<Vec<u8>, Refused> {
        if datagram.first() != Some(&DATAGRAM_TYPE) || datagram.len() < OVERHEAD || datagram.len() > MAX_DATAGRAM_LEN {
            return Err(Refused::NotGossip);
        }
        let (header, sealed) = datagram.split_at(HEADER_LEN);
        let key = self.keys.iter().find(|key| key.id.0 == header[1..5]).ok_or(Refused::UnknownKey)?;
        let nonce: [u8; NONCE_LEN] = header[5..].try_into().map_err(|_| Refused::NotGossip)?;
        let mut plaintext = sealed.to_vec();
        let len = key
            .of_sender(&nonce)
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(header), &mut plaintext)
            .map_err(|_| Refused::Unauthentic)?
            .len();
        plaintext.truncate(len);
        Ok(plaintext)
    }
}

struct GossipKey {
    id: KeyId,
    /// What the keys of the senders are made from.
    senders: Prk,
}

impl GossipKey {
    fn derive(secret: &Secret) -> Self {
        let senders = Salt::new(HKDF_SHA256, &[]).extract(secret.as_bytes());
        let mut id = [0; 4];
        expand(&senders, &[b"tunmesh v1 key id"], &mut id);
        Self { id: KeyId(id), senders }
    }

    /// The key under which a sender with the salt in `nonce` seals.
    fn of_sender(&self, nonce: &[u8; NONCE_LEN]) -> LessSafeKey {
        let mut key = Zeroizing::new([0; 32]);
        expand(&self.senders, &[b"tunmesh v1 gossip", &nonce[..SALT_LEN]], key.as_mut_slice());
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("a key of AES-256 has 32 bytes"))
    }
}

impl fmt::Debug for GossipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GossipKey({:?}, redacted)", self.id)
    }
}

/// The second half of HKDF-SHA256, to fill `out`, at most 32 bytes.
fn expand(from: &Prk, info: &[&[u8]], out: &mut [u8]) {
    struct Len(usize);
    impl KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    from.expand(info, Len(out.len())).and_then(|okm| okm.fill(out)).expect("HKDF gives up to 8160 bytes");
}

/// First byte of every datagram; those of WireGuard are 1 to 4.
pub const DATAGRAM_TYPE: u8 = 0x80;

/// Longest datagram, in bytes: the least MTU of IPv6, 1280, less the headers of IPv6 and UDP (RFC 8200, section 5).
pub const MAX_DATAGRAM_LEN: usize = 1232;

/// Longest plaintext, in bytes.
pub(crate) const MAX_PLAINTEXT_LEN: usize = MAX_DATAGRAM_LEN - OVERHEAD;

const HEADER_LEN: usize = 1 + 4 + NONCE_LEN;
const OVERHEAD: usize = HEADER_LEN + 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from_bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn any_altered_byte_is_refused() {
        let keys = KeyRing::new(&secret("a"), &[]);
        let datagram = keys.seal([3; 12], b"hello");
        assert_eq!(keys.open(&datagram), Ok(b"hello".to_vec()));

        for at in 0..datagram.len() {
            for bit in 0..8 {
                let mut altered = datagram.clone();
                altered[at] ^= 1 << bit;
                let expected = match at {
                    0 => Refused::NotGossip,
                    1..5 => Refused::UnknownKey,
                    _ => Refused::Unauthentic,
                };
                assert_eq!(keys.open(&altered), Err(expected), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn datagrams_have_the_form_that_is_documented() {
        let secret = secret("a");
        let datagram = KeyRing::new(&secret, &[]).seal(*b"nine bytes!!", b"hello");

        let from_secret = Salt::new(HKDF_SHA256, &[]).extract(b"a");
        let key = from_secret.expand(&[b"tunmesh v1 gossipnine byte"], &AES_256_GCM).unwrap();
        let mut sealed = datagram[17..].to_vec();
        let opened = LessSafeKey::new(UnboundKey::from(key))
            .open_in_place(Nonce::assume_unique_for_key(*b"nine bytes!!"), Aad::from(&datagram[..17]), &mut sealed)
            .unwrap();
        assert_eq!(opened, b"hello");
        assert_eq!((datagram[0], &datagram[5..17]), (0x80, &b"nine bytes!!"[..]));
    }

    #[test]
    fn any_secret_of_the_ring_opens_and_the_first_one_seals() {
        let old = KeyRing::new(&secret("a"), &[]);
        let both = KeyRing::new(&secret("b"), &[secret("a")]);
        let new = KeyRing::new(&secret("b"), &[]);

        assert_eq!(both.open(&old.seal([1; 12], b"x")), Ok(b"x".to_vec()));
        assert_eq!(new.open(&both.seal([2; 12], b"y")), Ok(b"y".to_vec()));
        assert_eq!(old.open(&both.seal([2; 12], b"y")), Err(Refused::UnknownKey));
        assert_eq!(both.ids(), [new.ids(), old.ids()].concat());
    }

    #[test]
    fn what_is_too_short_or_too_long_is_not_opened() {
        let keys = KeyRing::new(&secret("a"), &[]);
        for len in [0, 1, OVERHEAD - 1, MAX_DATAGRAM_LEN + 1] {
            assert_eq!(keys.open(&vec![DATAGRAM_TYPE; len]), Err(Refused::NotGossip), "{len} bytes");
        }
        assert_eq!(keys.seal([1; 12], &[0; MAX_PLAINTEXT_LEN]).len(), MAX_DATAGRAM_LEN);
    }

    #[test]
    fn debug_output_shows_no_key() {
        let keys = KeyRing::new(&secret("hunter2"), &[]);
        let KeyId(id) = keys.ids()[0];
        let id = u32::from_be_bytes(id);
        assert_eq!(format!("{keys:?}"), format!("KeyRing {{ keys: [GossipKey(KeyId({id:08x}), redacted)] }}"));
    }
}
