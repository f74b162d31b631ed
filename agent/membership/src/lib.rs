//! Who is in the mesh: signed member records spread by SWIM gossip in sealed datagrams. No clock, no socket.
//!
//! Every node says what it is in a [`Record`], signs it and numbers it by an incarnation that only it can raise.
//! [`Membership`] makes all records known to all nodes and finds out who is gone:
//!
//! - **Failure detection** is SWIM (Das, Gupta, Motivala 2002): one probe per interval, repeated through others, then a
//!   suspicion that the member refutes by a record of the next incarnation. From Lifeguard (Dadgar, Phillips, Currey 2018)
//!   come the waits that grow while a node doubts itself, the suspicion that shortens when others confirm it, and that a
//!   suspect is told so with every ping.
//! - **Dissemination** is push gossip while there is news, to three random members per round.
//! - **Anti-entropy** compares a digest with a random member now and then and fetches what differs.
//! - **Sealing**: [`KeyRing`] tells insiders from outsiders; an insider still cannot speak for another, by [`Identity`].
//!
//! Nothing is assumed of the clocks but that they differ by less than [`Settings::max_clock_skew`].
//!
//! The SWIM library at hand (foca 2.0) is not used: its updates are its own (identity, 16-bit incarnation, state), so records
//! would travel beside them as custom broadcasts with numbers of their own, an unsigned update could raise an incarnation
//! that here only a signature can, its probe numbers have 8 bits where a replayed answer must not count, and it has no
//! anti-entropy. Around it, records, sealing, replay, comparison and timers would be as long as all of this.
#![forbid(unsafe_code)]

mod agenda;
mod event;
mod identity;
mod key_id;
mod keys;
mod member_key;
mod membership;
mod message;
mod news;
mod nonce;
mod random;
mod record;
mod refused;
mod replay;
mod settings;
mod signed;
mod summary;
mod table;
mod wire;

pub use event::{Counters, Event, Health};
pub use identity::{Identity, KeyIdentity, RefusedRecord};
pub use key_id::KeyId;
pub use keys::{DATAGRAM_TYPE, KeyRing, MAX_DATAGRAM_LEN};
pub use membership::Membership;
pub use record::{Capabilities, Record, RecordDraft, RecordError};
pub use refused::Refused;
pub use settings::{Now, Settings, Timers};
pub use signed::{MAX_SIGNED_LEN, SIGNED_PREFIX, Signed, Signer};
