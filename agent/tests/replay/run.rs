//! How the recording went, as far as the files of the cases do not say.

use super::recording::Case;

/// Cases that were recorded one after the other with one node of the original.
pub(crate) struct Run {
    pub(crate) name: String,
    /// Added to the configuration file.
    pub(crate) config: &'static str,
    pub(crate) cases: Vec<Case>,
    /// Peers that joined unrecorded.
    pub(crate) cast: &'static [Role],
    /// How often the cases are played; all but the first time is to see whether memory grows.
    pub(crate) rounds: usize,
}

/// A peer that joined unrecorded.
pub(crate) struct Role {
    pub(crate) id: &'static str,
    pub(crate) port: u16,
    pub(crate) address: &'static str,
    /// The case before which it joined; the first if empty.
    pub(crate) before: &'static str,
    /// What it does when asked for a session.
    pub(crate) when_asked: Manner,
}

pub(crate) enum Manner {
    Answers,
    Hangs,
    Refuses,
}
