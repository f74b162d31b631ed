use std::ops::RangeInclusive;

use crate::member_key::MemberKey;
use crate::message::BUCKETS;

/// A digest of who is alive in which incarnation, kept up to date with every change: members in [`BUCKETS`] buckets by the
/// first byte of their key, each bucket the exclusive or of the hashes of what is in it.
///
/// Two nodes with equal roots hold the same, but for a chance of 2^-64; by the buckets they find what differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    buckets: Box<[u64; BUCKETS]>,
    root: u64,
}

impl Default for Summary {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), root: 0 }
    }
}

impl Summary {
    /// Puts a member in, or takes it out if it is in.
    pub(crate) fn toggle(&mut self, key: MemberKey, incarnation: u64) {
        let hash = mix(key.0 ^ mix(incarnation));
        self.buckets[usize::from(key.0.to_be_bytes()[0])] ^= hash;
        self.root ^= hash;
    }

    pub(crate) const fn root(&self) -> u64 {
        self.root
    }

    pub(crate) fn buckets(&self) -> Box<[u32; BUCKETS]> {
        let mut short = Box::new([0; BUCKETS]);
        for (short, bucket) in short.iter_mut().zip(self.buckets.iter()) {
            *short = shorten(*bucket);
        }
        short
    }

    /// The ranges of keys in which `theirs` differs, as few as possible.
    pub(crate) fn differing(&self, theirs: &[u32; BUCKETS]) -> Vec<RangeInclusive<MemberKey>> {
        let mut ranges: Vec<RangeInclusive<MemberKey>> = Vec::new();
        for (first, (ours, theirs)) in (0..=u8::MAX).zip(self.buckets.iter().zip(theirs)) {
            if shorten(*ours) == *theirs {
                continue;
            }
            let start = u64::from(first) << 56;
            let end = MemberKey(start | (u64::MAX >> 8));
            match ranges.last_mut() {
                Some(range) if range.end().0.wrapping_add(1) == start => *range = *range.start()..=end,
                _ => ranges.push(MemberKey(start)..=end),
            }
        }
        ranges
    }
}

fn shorten(bucket: u64) -> u32 {
    u32::try_from(bucket >> 32).unwrap_or_default()
}

/// The finalizer of splitmix64: every bit of the input counts for every bit of the output.
const fn mix(mut number: u64) -> u64 {
    number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_members_have_the_same_root_in_whatever_order_they_came() {
        let members = (0..200_u64).map(|index| (MemberKey(mix(index)), index % 7)).collect::<Vec<_>>();
        let (mut a, mut b) = (Summary::default(), Summary::default());

        members.iter().for_each(|(key, incarnation)| a.toggle(*key, *incarnation));
        members.iter().rev().for_each(|(key, incarnation)| b.toggle(*key, *incarnation));

        assert_eq!(a, b);
        assert_eq!(a.differing(&b.buckets()), vec![]);
        b.toggle(members[5].0, members[5].1);
        b.toggle(members[5].0, members[5].1 + 1);
        assert_ne!(a.root(), b.root());
    }

    #[test]
    fn differing_buckets_are_joined_to_ranges() {
        let mut ours = Summary::default();
        for first_byte in [0, 4, 5, 255] {
            ours.toggle(MemberKey((first_byte << 56) | 77), 1);
        }

        let ranges = ours.differing(&[0; BUCKETS]);

        let range = |first: u64, last: u64| MemberKey(first << 56)..=MemberKey((last << 56) | (u64::MAX >> 8));
        assert_eq!(ranges, vec![range(0, 0), range(4, 5), range(255, 255)]);
    }
}
