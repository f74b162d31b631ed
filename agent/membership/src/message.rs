use std::ops::RangeInclusive;

use crate::keys::MAX_PLAINTEXT_LEN;
use crate::member_key::MemberKey;
use crate::signed::SignedParts;
use crate::wire::{Malformed, Reader, put_long};

/// What is inside a sealed datagram. Integers big endian.
///
/// | Bytes | Field |
/// |---|---|
/// | 1 | version of this form, 1 |
/// | 8 | sender, a [`MemberKey`] |
/// | 8 | stamp: Unix time in µs, rising with every datagram of the sender |
/// | 1 + n | kind and its fields, see [`Kind`] |
/// | n | news to the end of the datagram, see [`Item`] |
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) sender: MemberKey,
    pub(crate) stamp: u64,
    pub(crate) kind: Kind,
    pub(crate) items: Vec<Item<'a>>,
}

impl<'a> Message<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(Malformed);
        }
        let sender = MemberKey(reader.u64()?);
        let stamp = reader.u64()?;
        let kind = Kind::decode(&mut reader)?;
        let mut items = Vec::new();
        while !reader.is_empty() {
            items.push(Item::decode(&mut reader)?);
        }
        Ok(Self { sender, stamp, kind, items })
    }
}

/// A message being written, never longer than a datagram holds.
#[derive(Debug)]
pub(crate) struct Draft(Vec<u8>);

impl Draft {
    pub(crate) fn new(sender: MemberKey, stamp: u64, kind: &Kind) -> Self {
        let mut out = Vec::with_capacity(MAX_PLAINTEXT_LEN);
        out.push(VERSION);
        out.extend(sender.0.to_be_bytes());
        out.extend(stamp.to_be_bytes());
        kind.encode(&mut out);
        Self(out)
    }

    /// As much room as there is beside news alone, to find out what fits.
    pub(crate) fn empty() -> Self {
        Self::new(MemberKey(0), 0, &Kind::Gossip)
    }

    /// Adds an item if there is room for it.
    pub(crate) fn add(&mut self, item: &Item<'_>) -> bool {
        let fits = self.0.len() + item.encoded_len() <= MAX_PLAINTEXT_LEN;
        if fits {
            item.encode(&mut self.0);
        }
        fits
    }

    /// Bytes left.
    pub(crate) fn room(&self) -> usize {
        MAX_PLAINTEXT_LEN - self.0.len()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a datagram wants. The first byte, then the fields in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 0: only news.
    Gossip,
    /// 1: answer with an `Ack` of the same nonce (8).
    Ping { nonce: u64 },
    /// 2: the answer to a `Ping` (8).
    Ack { nonce: u64 },
    /// 3: ping the target (8) and say under the nonce (8) whether it answered.
    PingRequest { nonce: u64, target: MemberKey },
    /// 4: the target of a `PingRequest` answered (8).
    Reached { nonce: u64 },
    /// 5: it did not in time, or is not known (8).
    NotReached { nonce: u64 },
    /// 6: the root of the sender's [`crate::summary::Summary`] (8), to be compared.
    Digest { root: u64 },
    /// 7: its [`BUCKETS`] buckets (4 each).
    Buckets { buckets: Box<[u32; BUCKETS]> },
    /// 8: every member from (8) to (8) the sender holds as alive: count (1), then key (8) and incarnation (8) each.
    Listing { keys: RangeInclusive<MemberKey>, entries: Vec<(MemberKey, u64)> },
    /// 9: wants the records of these: count (1), then 8 bytes each.
    Pull { keys: Vec<MemberKey> },
}

impl Kind {
    fn encode(&self, out: &mut Vec<u8>) {
        let numbers: (u8, &[u64]) = match self {
            Self::Gossip => (0, &[]),
            Self::Ping { nonce } => (1, &[*nonce]),
            Self::Ack { nonce } => (2, &[*nonce]),
            Self::PingRequest { nonce, target } => (3, &[*nonce, target.0]),
            Self::Reached { nonce } => (4, &[*nonce]),
            Self::NotReached { nonce } => (5, &[*nonce]),
            Self::Digest { root } => (6, &[*root]),
            Self::Buckets { .. } => (7, &[]),
            Self::Listing { keys, .. } => (8, &[keys.start().0, keys.end().0]),
            Self::Pull { .. } => (9, &[]),
        };
        out.push(numbers.0);
        out.extend(numbers.1.iter().flat_map(|number| number.to_be_bytes()));
        match self {
            Self::Buckets { buckets } => out.extend(buckets.iter().flat_map(|bucket| bucket.to_be_bytes())),
            Self::Listing { entries, .. } => {
                crate::wire::put_list(out, entries, |out, (key, incarnation)| {
                    out.extend(key.0.to_be_bytes());
                    out.extend(incarnation.to_be_bytes());
                });
            }
            Self::Pull { keys } => {
                crate::wire::put_list(out, keys, |out, key| out.extend(key.0.to_be_bytes()));
            }
            Self::Ack { .. }
            | Self::Digest { .. }
            | Self::Gossip
            | Self::NotReached { .. }
            | Self::Ping { .. }
            | Self::PingRequest { .. }
            | Self::Reached { .. } => {}
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.u8()? {
            0 => Self::Gossip,
            1 => Self::Ping { nonce: reader.u64()? },
            2 => Self::Ack { nonce: reader.u64()? },
            3 => Self::PingRequest { nonce: reader.u64()?, target: MemberKey(reader.u64()?) },
            4 => Self::Reached { nonce: reader.u64()? },
            5 => Self::NotReached { nonce: reader.u64()? },
            6 => Self::Digest { root: reader.u64()? },
            7 => {
                let mut buckets = Box::new([0; BUCKETS]);
                for bucket in buckets.iter_mut() {
                    *bucket = reader.u32()?;
                }
                Self::Buckets { buckets }
            }
            8 => {
                let (from, to) = (MemberKey(reader.u64()?), MemberKey(reader.u64()?));
                let entries = reader.list(MAX_LISTED, |reader| Ok((MemberKey(reader.u64()?), reader.u64()?)))?;
                let ascending = entries.is_sorted_by(|(a, _), (b, _)| a < b);
                let within = entries.iter().all(|(key, _)| (from..=to).contains(key));
                if from > to || !ascending || !within {
                    return Err(Malformed);
                }
                Self::Listing { keys: from..=to, entries }
            }
            9 => Self::Pull { keys: reader.list(MAX_PULLED, |reader| reader.u64().map(MemberKey))? },
            _ => return Err(Malformed),
        })
    }
}

/// One piece of news. The first byte, then the fields in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// 0: a signed record, after its length (2).
    Record(SignedParts<'a>),
    /// 1: `of` (8) in this incarnation (8) did not answer `by` (8).
    Suspect { of: MemberKey, incarnation: u64, by: MemberKey },
    /// 2: `of` (8) in this incarnation (8) did not refute in time.
    Dead { of: MemberKey, incarnation: u64 },
}

impl<'a> Item<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Record(parts) => {
                out.push(0);
                put_long(out, parts.all());
            }
            Self::Suspect { of, incarnation, by } => {
                out.push(1);
                out.extend([of.0, *incarnation, by.0].iter().flat_map(|number| number.to_be_bytes()));
            }
            Self::Dead { of, incarnation } => {
                out.push(2);
                out.extend([of.0, *incarnation].iter().flat_map(|number| number.to_be_bytes()));
            }
        }
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match reader.u8()? {
            0 => Self::Record(SignedParts::read(reader.long()?)?),
            1 => {
                Self::Suspect { of: MemberKey(reader.u64()?), incarnation: reader.u64()?, by: MemberKey(reader.u64()?) }
            }
            2 => Self::Dead { of: MemberKey(reader.u64()?), incarnation: reader.u64()? },
            _ => return Err(Malformed),
        })
    }

    pub(crate) const fn encoded_len(&self) -> usize {
        match self {
            Self::Record(parts) => 3 + parts.all().len(),
            Self::Suspect { .. } => 25,
            Self::Dead { .. } => 17,
        }
    }
}

const VERSION: u8 = 1;

/// Buckets of a [`crate::summary::Summary`].
pub(crate) const BUCKETS: usize = 256;

/// Most entries of a listing, 16 bytes each.
pub(crate) const MAX_LISTED: usize = 70;

/// Most keys of a pull, 8 bytes each.
pub(crate) const MAX_PULLED: usize = 140;

/// Bytes before the kind.
const HEAD_LEN: usize = 1 + 8 + 8;

const _: () = assert!(HEAD_LEN + 1 + 4 * BUCKETS <= MAX_PLAINTEXT_LEN, "buckets fit");
const _: () = assert!(HEAD_LEN + 1 + 16 + 1 + 16 * MAX_LISTED <= MAX_PLAINTEXT_LEN, "a listing fits");
const _: () = assert!(HEAD_LEN + 1 + 1 + 8 * MAX_PULLED <= MAX_PLAINTEXT_LEN, "a pull fits");
const _: () =
    assert!(HEAD_LEN + 1 + 16 + 3 + crate::signed::MAX_SIGNED_LEN <= MAX_PLAINTEXT_LEN, "a record fits with any probe");

#[cfg(test)]
mod tests;
