/// The counters seen so far: a bitmap that slides (RFC 6479).
///
/// 8,192 bits, as WireGuard has: a packet thread that loses its core for 5 ms while others run at line rate hands its
/// burst in thousands of counters late.
#[derive(Debug)]
pub(crate) struct ReplayWindow {
    /// One more than the highest counter accepted.
    next: u64,
    /// Bit `counter % BITS` for each counter of the window; the word that `next` enters is cleared as it does.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// Counters below the highest one accepted that are still told apart.
    pub(crate) const REACH: u64 = (WORDS as u64 - 1) * WORD_BITS;

    pub(crate) fn new() -> Self {
        Self { next: 0, seen: [0; WORDS] }
    }

    /// Whether `counter` was not accepted before, as far as can be told.
    pub(crate) fn is_fresh(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        let (word, bit) = Self::place(counter);
        self.next - counter <= Self::REACH && self.seen[word] & bit == 0
    }

    /// Notes that `counter` was accepted; it must be fresh and below `u64::MAX`.
    pub(crate) fn accept(&mut self, counter: u64) {
        if counter >= self.next {
            // The words between that of the highest counter so far, exclusive, and that of the new one, inclusive.
            let first = self.next.div_ceil(WORD_BITS);
            let last = counter / WORD_BITS;
            let entered = (last + 1).saturating_sub(first).min(WORDS as u64);
            for word in 0..entered {
                self.seen[Self::index(last - word)] = 0;
            }
            self.next = counter + 1;
        }
        let (word, bit) = Self::place(counter);
        self.seen[word] |= bit;
    }

    fn place(counter: u64) -> (usize, u64) {
        (Self::index(counter / WORD_BITS), 1 << (counter % WORD_BITS))
    }

    fn index(word: u64) -> usize {
        (word % WORDS as u64) as usize
    }
}

const WORDS: usize = 128;
const WORD_BITS: u64 = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counters_within_reach_are_told_apart_and_older_ones_are_not_fresh() {
        let mut window = ReplayWindow::new();
        let highest = 20_000;
        window.accept(highest);

        assert!(window.is_fresh(highest + 1 - ReplayWindow::REACH));
        assert!(!window.is_fresh(highest - ReplayWindow::REACH));
        assert!(!window.is_fresh(highest));
        assert!(window.is_fresh(u64::MAX - 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_window_is_a_set_with_a_lower_end(steps in prop::collection::vec((0u8..6, 0u64..10_000), 1..400)) {
            let (mut window, mut seen, mut next) = (ReplayWindow::new(), BTreeSet::new(), 0u64);
            for (kind, distance) in steps {
                let counter = match kind {
                    0 | 1 => next + distance % 70,
                    2 => next + distance,
                    3 => next.saturating_sub(distance % 130),
                    _ => next.saturating_sub(distance),
                };
                let fresh = counter >= next || next - counter <= ReplayWindow::REACH && !seen.contains(&counter);
                prop_assert_eq!(window.is_fresh(counter), fresh, "counter {} below {}", counter, next);
                if fresh {
                    window.accept(counter);
                    seen.insert(counter);
                    next = next.max(counter + 1);
                }
            }
        }
    }
}
