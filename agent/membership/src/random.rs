use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

/// Random bytes from a seed: HMAC-SHA256 of a counter, keyed by the seed.
#[derive(Debug)]
pub(crate) struct Random {
    key: Key,
    counter: u64,
    left: Vec<u8>,
}

impl Random {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self { key: Key::new(HMAC_SHA256, seed), counter: 0, left: Vec::new() }
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| {
            if self.left.is_empty() {
                self.left.extend(sign(&self.key, &self.counter.to_be_bytes()).as_ref());
                self.counter += 1;
            }
            self.left.pop().unwrap_or_default()
        })
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes())
    }

    /// A number below `bound`, 0 if that is 0. The bias is below 2^-32 for all bounds used.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let random = u32::from_be_bytes(self.bytes());
        usize::try_from((u64::from(random) * bound as u64) >> 32).unwrap_or(0)
    }
}
