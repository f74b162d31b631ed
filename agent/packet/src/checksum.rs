/// The internet checksum of `bytes` (RFC 1071): the complement of the one's complement sum of their 16-bit words.
///
/// An odd last byte counts as the high half of a word. Written big-endian into the zeroed checksum field it was computed
/// over, it makes [`is_checksum_valid`] true.
pub fn checksum(bytes: &[u8]) -> u16 {
    Checksum::new().with(bytes).finish()
}

/// Whether `bytes`, their checksum field included, sum up as RFC 1071, section 1, demands of an intact message.
pub fn is_checksum_valid(bytes: &[u8]) -> bool {
    checksum(bytes) == 0
}

/// An internet checksum over several pieces, such as a pseudo-header (RFC 9293, section 3.1) and a segment.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Checksum {
    /// Sum of the words so far in the byte order of the machine, which RFC 1071, section 2, allows; carries not folded in.
    sum: u64,
}

impl Checksum {
    /// The checksum of nothing.
    pub const fn new() -> Self {
        Self { sum: 0 }
    }

    /// The checksum of what was added so far followed by `bytes`; every piece but the last must have an even length, or the words after it are split wrongly.
    #[inline]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_LEN>();
        if !blocks.is_empty() {
            self.sum = add_with_carry(self.sum, sum_of_blocks(blocks));
        }
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            self.sum = add_with_carry(self.sum, u64::from(u32::from_ne_bytes(*word)));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        self.sum = add_with_carry(self.sum, u64::from(u32::from_ne_bytes(last)));
        self
    }

    /// The checksum of what was added so far followed by `word` in big-endian.
    #[inline]
    pub fn with_word(mut self, word: u16) -> Self {
        self.sum = add_with_carry(self.sum, u64::from(word.to_be()));
        self
    }

    /// The checksum, to be written big-endian.
    #[inline]
    pub fn finish(self) -> u16 {
        !self.fold()
    }

    /// The sum without its complement, to be written big-endian: what stands in the checksum field of a packet whose
    /// checksum is left to the device, after the pseudo-header was added (virtio 1.3, section 5.1.6.2).
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = self.sum;
        while sum > u64::from(u16::MAX) {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::from_be(u16::try_from(sum).expect("the loop ends at 16 bits"))
    }
}

fn sum_of_blocks(blocks: &[[u8; BLOCK_LEN]]) -> u64 {
    let mut lanes = [0u64; BLOCK_LEN / 4];
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    lanes.into_iter().fold(0, add_with_carry)
}

/// A sum of 32-bit words folds to the same 16 bits as one of 16-bit words (RFC 1071, section 2, "Parallel Summation").
#[inline]
fn add_with_carry(sum: u64, word: u64) -> u64 {
    let (sum, carry) = sum.overflowing_add(word);
    sum + u64::from(carry)
}

/// Bytes summed per step: eight independent lanes, which compilers turn into vector instructions. A lane of 64 bits holds the
/// sum of 2^32 words of 32 bits, far more than a slice of one packet has.
const BLOCK_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_rfc_1071_section_3_sums_to_ddf2() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn the_checksum_of_nothing_is_all_ones() {
        assert_eq!(checksum(&[]), 0xffff);
    }

    /// RFC 1071, section 4.1, word by word.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn it_equals_the_sum_of_words(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(checksum(&bytes), reference(&bytes));
        }

        #[test]
        fn pieces_of_even_length_sum_as_one(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..100) {
            let (first, second) = bytes.split_at((cut * 2).min(bytes.len() & !1));
            prop_assert_eq!(Checksum::new().with(first).with(second).finish(), checksum(&bytes));
        }

        #[test]
        fn a_message_with_its_checksum_is_valid_and_a_changed_one_is_not(
            mut bytes in prop::collection::vec(any::<u8>(), 4..200),
            at in any::<prop::sample::Index>(),
            flip in 1u8..=0xfe,
        ) {
            bytes[2..4].fill(0);
            let sum = checksum(&bytes);
            bytes[2..4].copy_from_slice(&sum.to_be_bytes());
            prop_assert!(is_checksum_valid(&bytes));
            let index = at.index(bytes.len());
            bytes[index] ^= flip;
            prop_assert!(!is_checksum_valid(&bytes));
        }
    }
}
