use crate::random::Random;

/// What makes the nonces of one node: the salt that names the key, and a number that no datagram under it shares.
#[derive(Debug)]
pub(crate) struct Nonces {
    salt: [u8; SALT_LEN],
    next: u32,
}

impl Nonces {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self { salt: random.bytes(), next: 0 }
    }

    /// The salt and the number of the next datagram, big endian; with another salt once all numbers are used up.
    pub(crate) fn next(&mut self, random: &mut Random) -> [u8; NONCE_LEN] {
        if self.next == NUMBERS {
            *self = Self::new(random);
        }
        let [_, number @ ..] = self.next.to_be_bytes();
        self.next += 1;
        let mut nonce = [0; NONCE_LEN];
        nonce[..SALT_LEN].copy_from_slice(&self.salt);
        nonce[SALT_LEN..].copy_from_slice(&number);
        nonce
    }
}

/// Bytes of a salt: 1,400,000 of them before two are alike with a chance of 2^-32, as NIST SP 800-38D, section 8, asks.
pub(crate) const SALT_LEN: usize = 9;

/// Bytes of a nonce of AES-GCM.
pub(crate) const NONCE_LEN: usize = 12;

/// Datagrams under one salt; two months of three per second.
const NUMBERS: u32 = 1 << (8 * (NONCE_LEN - SALT_LEN));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_and_the_salt_changes_when_they_are_used_up() {
        let mut random = Random::new(&[1; 32]);
        let mut nonces = Nonces::new(&mut random);
        let [first, second] = [nonces.next(&mut random), nonces.next(&mut random)];
        assert_eq!((&first[..SALT_LEN], &first[SALT_LEN..]), (&second[..SALT_LEN], &[0, 0, 0][..]));
        assert_eq!(second[SALT_LEN..], [0, 0, 1]);

        nonces.next = NUMBERS - 1;
        let [last, other] = [nonces.next(&mut random), nonces.next(&mut random)];
        assert_eq!((&last[..SALT_LEN], &last[SALT_LEN..]), (&first[..SALT_LEN], &[255, 255, 255][..]));
        assert_ne!(other[..SALT_LEN], first[..SALT_LEN]);
        assert_eq!(other[SALT_LEN..], [0, 0, 0]);
    }
}
