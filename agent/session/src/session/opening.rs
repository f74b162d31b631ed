use std::ops::Range;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::Session;
use crate::replay::ReplayWindow;
use crate::suite::{REJECT_AFTER_MESSAGES, Suite};
use crate::wire::TRANSPORT;

/// The replay window of a session, held for a burst; see [`Session::opening`].
pub struct Opening<'a> {
    pub(super) session: &'a Session,
    pub(super) window: MutexGuard<'a, ReplayWindow>,
}

impl Opening<'_> {
    /// Opens a transport message in place.
    ///
    /// The replay window is looked at before the tag is checked and moved only after. On [`OpenError::Forged`] what is
    /// left in `datagram` means nothing.
    ///
    /// # Errors
    /// [`OpenError`]; the datagram is to be dropped.
    pub fn open(&mut self, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        let session = self.session;
        if session.is_expired() {
            return Err(OpenError::Expired);
        }
        if datagram.len() < Session::HEADER_LEN + Session::TAG_LEN {
            return Err(OpenError::TooShort);
        }
        let (header, sealed) = datagram.split_at_mut(Session::HEADER_LEN);
        let [kind, flags, r2, r3, i0, i1, i2, i3, c0, c1, c2, c3, c4, c5, c6, c7] = *header else {
            return Err(OpenError::TooShort);
        };
        if [kind, r2, r3] != [TRANSPORT, 0, 0] || (session.suite == Suite::ChaChaPoly && flags != 0) {
            return Err(OpenError::Forged);
        }
        if u32::from_le_bytes([i0, i1, i2, i3]) != session.local_index {
            return Err(OpenError::WrongIndex);
        }
        let counter = u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(OpenError::Expired);
        }
        if !self.window.is_fresh(counter) {
            return Err(OpenError::Replayed);
        }
        let len = session.receiving.open(counter, session.authenticated(header), sealed).ok_or(OpenError::Forged)?;
        self.window.accept(counter);
        let confirms = !session.confirmed.load(Ordering::Relaxed) && !session.confirmed.swap(true, Ordering::AcqRel);
        Ok(Opened { flags, counter, plaintext: Session::HEADER_LEN..Session::HEADER_LEN + len, confirms })
    }
}

/// A transport message that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The flags the peer sealed; zero with `ChaChaPoly`.
    pub flags: u8,
    /// Its number in this session and direction.
    pub counter: u64,
    /// Where in the datagram the plaintext is, with its padding if any; empty for a keepalive.
    pub plaintext: Range<usize>,
    /// Whether it was the first one of a session made as the responder: time for
    /// [`Endpoint::session_confirmed`](crate::Endpoint::session_confirmed).
    pub confirms: bool,
}

/// Why a transport message was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The session has ended, or the counter is past its last one.
    #[error("the session has ended")]
    Expired,
    /// It is not what the peer sealed in this session.
    #[error("the datagram is not what the peer sealed")]
    Forged,
    /// It was opened before, or is too old to tell.
    #[error("the datagram was opened before or is too old to tell")]
    Replayed,
    /// It has no room for a header and a tag.
    #[error("the datagram is shorter than a header and a tag")]
    TooShort,
    /// It belongs to another session.
    #[error("the datagram is for another session")]
    WrongIndex,
}
