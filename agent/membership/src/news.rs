use std::collections::VecDeque;

use crate::member_key::{KeyMap, MemberKey};

/// What is still to be passed on: per member the latest piece of news, the least often sent one first.
#[derive(Debug, Default)]
pub(crate) struct News {
    pieces: KeyMap<Piece>,
    /// By times sent, in order; an entry that is not about the present piece of that member is void.
    tiers: Vec<VecDeque<(MemberKey, u64)>>,
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
    /// Which of all that were added; tells it from another piece about the same member.
    number: u64,
}

impl News {
    /// Adds a piece, in place of what there was to be said about that member.
    pub(crate) fn add(&mut self, about: MemberKey, topic: Topic) {
        self.added += 1;
        self.pieces.insert(about, Piece { topic, number: self.added });
        self.put(about, self.added, 0);
    }

    pub(crate) fn remove(&mut self, about: MemberKey) {
        self.pieces.remove(&about);
    }

    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.tiers.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Hands pieces to `tell`, the least often sent first, until it did not take one, and drops those sent `times` now.
    pub(crate) fn tell(&mut self, times: usize, mut tell: impl FnMut(MemberKey, Topic) -> bool) {
        let mut told = Vec::new();
        let mut full = false;
        for sent in 0..self.tiers.len() {
            while !full && let Some((about, number)) = self.tiers[sent].pop_front() {
                let Some(piece) = self.pieces.get(&about).filter(|piece| piece.number == number) else {
                    continue;
                };
                if !tell(about, piece.topic) {
                    self.tiers[sent].push_front((about, number));
                    full = true;
                } else if sent + 1 >= times {
                    self.pieces.remove(&about);
                } else {
                    told.push((about, number, sent + 1));
                }
            }
        }
        for (about, number, sent) in told {
            self.put(about, number, sent);
        }
    }

    fn put(&mut self, about: MemberKey, number: u64, sent: usize) {
        if self.tiers.len() <= sent {
            self.tiers.resize_with(sent + 1, VecDeque::new);
        }
        self.tiers[sent].push_back((about, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next pieces, at most `count`, each of which is sent three times.
    fn told(news: &mut News, count: usize) -> Vec<u64> {
        let mut told = Vec::new();
        news.tell(3, |about, _| {
            let takes = told.len() < count;
            if takes {
                told.push(about.0);
            }
            takes
        });
        told
    }

    #[test]
    fn the_least_often_sent_comes_first_and_each_as_often_as_wanted() {
        let mut news = News::default();
        for key in [1, 2, 3] {
            news.add(MemberKey(key), Topic::Record);
        }

        assert_eq!(told(&mut news, 2), [1, 2]);
        assert_eq!(told(&mut news, 2), [3, 1]);
        assert_eq!(told(&mut news, 9), [2, 3, 1]);
        assert_eq!(told(&mut news, 9), [2, 3]);
        assert_eq!((told(&mut news, 9), news.is_empty()), (vec![], true));
    }

    #[test]
    fn later_news_of_a_member_replaces_what_there_was() {
        let mut news = News::default();
        news.add(MemberKey(1), Topic::Record);
        assert_eq!(told(&mut news, 1), [1]);

        news.add(MemberKey(1), Topic::Dead);

        let mut topics = Vec::new();
        for _ in 0..5 {
            news.tell(3, |_, topic| {
                topics.push(topic);
                true
            });
        }
        assert_eq!(topics, [Topic::Dead; 3]);
        news.add(MemberKey(2), Topic::Record);
        news.remove(MemberKey(2));
        assert_eq!((told(&mut news, 9), news.len()), (vec![], 0));
    }
}
