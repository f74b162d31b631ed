use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, KeyInit, Update};
use zeroize::Zeroizing;

use crate::key::KEY_LEN;

/// Randomness grown from a seed, the same for the same seed.
///
/// Each draw replaces the state by what cannot be calculated back (fast key erasure), so that whoever reads the memory
/// learns none of the ephemeral keys drawn before: keyed BLAKE2s of one byte, 1 for what is drawn and 0 for the next state.
pub(crate) struct Random(Zeroizing<[u8; KEY_LEN]>);

impl Random {
    pub(crate) fn new(seed: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(seed))
    }

    pub(crate) fn key(&mut self) -> Zeroizing<[u8; KEY_LEN]> {
        let drawn = self.derive(1);
        self.0 = self.derive(0);
        drawn
    }

    pub(crate) fn index(&mut self) -> u32 {
        let drawn = self.key();
        u32::from_le_bytes([drawn[0], drawn[1], drawn[2], drawn[3]])
    }

    fn derive(&self, purpose: u8) -> Zeroizing<[u8; KEY_LEN]> {
        let mut mac = Blake2sMac256::new((&*self.0).into());
        mac.update(&[purpose]);
        Zeroizing::new(mac.finalize_fixed().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_no_number_twice() {
        let (mut a, mut b, mut other) = (Random::new([1; 32]), Random::new([1; 32]), Random::new([2; 32]));
        let drawn: Vec<_> = (0..100).map(|_| a.key()).collect();

        assert!(drawn.iter().all(|key| *key == b.key() && *key != other.key()));
        let mut distinct: Vec<_> = drawn.iter().map(|key| **key).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), drawn.len());
    }
}
