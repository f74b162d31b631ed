use std::collections::{BTreeMap, BTreeSet};

use crate::member_key::MemberKey;

/// What is still to be passed on: per member the latest piece of news, the least often sent one first.
#[derive(Debug, Default)]
pub(crate) struct News {
    pieces: BTreeMap<MemberKey, Piece>,
    /// By times sent, then the newest first.
    order: BTreeSet<(u32, std::cmp::Reverse<u64>, MemberKey)>,
    added: u64,
}

/// One piece of news about one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// It did not refute a suspicion in time.
    Dead,
    /// Its record is new.
    Record,
    /// It did not answer this member.
    Suspect { by: MemberKey },
}

#[derive(Debug)]
struct Piece {
    topic: Topic,
    sent: u32,
    added: u64,
}

impl News {
    /// Adds a piece, in place of what there was to be said about that member.
    pub(crate) fn add(&mut self, about: MemberKey, topic: Topic) {
        self.remove(about);
        self.added += 1;
        self.pieces.insert(about, Piece { topic, sent: 0, added: self.added });
        self.order.insert((0, std::cmp::Reverse(self.added), about));
    }

    pub(crate) fn remove(&mut self, about: MemberKey) {
        if let Some(piece) = self.pieces.remove(&about) {
            self.order.remove(&(piece.sent, std::cmp::Reverse(piece.added), about));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.order.clear();
    }

    /// All pieces, the least often sent one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (MemberKey, Topic)> {
        self.order.iter().filter_map(|(.., about)| Some((*about, self.pieces.get(about)?.topic)))
    }

    /// Counts one more time that the piece was sent, and drops it after `times`.
    pub(crate) fn sent(&mut self, about: MemberKey, times: u32) {
        let Some(piece) = self.pieces.get_mut(&about) else {
            return;
        };
        self.order.remove(&(piece.sent, std::cmp::Reverse(piece.added), about));
        piece.sent += 1;
        if piece.sent >= times {
            self.pieces.remove(&about);
        } else {
            self.order.insert((piece.sent, std::cmp::Reverse(piece.added), about));
        }
    }
}
