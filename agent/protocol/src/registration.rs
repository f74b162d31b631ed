//! Registrations: each node tells the others who it is and whom it knows.
//!
//! ```text
//! {"local":<member>,"remote":[<member>,...],"stamp":<Unix seconds of the sender>}
//! <member>  {"id":"<id>","listen_url":"https://<host>:<port>",
//!            "network_addresses":{"ipv4":{"cidr":"<mesh network>"}},"node_addresses":{"ipv4":{"cidr":"<own address>"}}}
//! ```
//!
//! The original refuses unknown fields at every level, and so do we: whoever sends one means something that both must
//! understand. It stores a member it cannot use and advertises it to everybody, who then refuse the advertiser; here a
//! bad `local` is refused and a bad entry of `remote` is left out and counted.

mod listing;
mod member;

use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use crate::json;
use member::Fields;

pub use listing::{ListedNode, RegistrationListing};
pub use member::{Member, MemberError};

/// What one node tells another: who it is, whom it knows, and when it said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// The sender.
    pub local: Member,
    /// The nodes the sender knows, possibly including the reader.
    pub remote: Vec<Member>,
    /// The sender's clock, in Unix seconds; may be wrong.
    pub stamp: i64,
    /// Entries of `remote` that were left out because a value was missing or bad; not written.
    #[serde(skip)]
    pub skipped_remotes: usize,
    /// Further addresses of the mesh that lead to the sender, if it was asked: its IPv6 address, and those of its `WireGuard`
    /// devices. They are told beside the document, as the original takes no field it does not know; not written.
    #[serde(skip)]
    pub further: Option<Vec<IpAddr>>,
}

impl Registration {
    /// Reads a request or response body.
    ///
    /// `remote` may be absent or, as the original has it, an empty object. Of a key that occurs twice the last counts.
    pub fn parse(body: &[u8]) -> Result<Self, RegistrationError> {
        let value: Value = serde_json::from_slice(body).map_err(|source| RegistrationError::Json { source })?;
        let top =
            Fields::of(&value, ["local", "remote", "stamp"]).map_err(|source| RegistrationError::Shape { source })?;
        let local = Member::parse(top.value(0)).map_err(|source| RegistrationError::Local { source })?;
        let mut remote = Vec::new();
        let mut skipped_remotes = 0;
        for entry in entries(&value)? {
            match Member::parse(entry) {
                Ok(member) => remote.push(member),
                Err(source @ (MemberError::NotAnObject | MemberError::UnknownField { .. })) => {
                    return Err(RegistrationError::Remote { source });
                }
                Err(
                    MemberError::Cidr { .. }
                    | MemberError::Id { .. }
                    | MemberError::ListenUrl { .. }
                    | MemberError::NoPrefix { .. }
                    | MemberError::NotText { .. },
                ) => skipped_remotes += 1,
            }
        }
        let stamp = top.value(2).as_i64().ok_or(RegistrationError::Stamp)?;
        Ok(Self { local, remote, stamp, skipped_remotes, further: None })
    }

    /// The body, with the keys in the order of the original.
    pub fn to_json(&self) -> Vec<u8> {
        json::write(self)
    }
}

/// Why a body is no registration.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// Not JSON.
    #[error("failed to read the registration")]
    Json {
        /// What the parser says; it quotes no values.
        source: serde_json::Error,
    },
    /// The sender does not say properly who it is.
    #[error("failed to read local")]
    Local {
        /// What is wrong with the sender.
        source: MemberError,
    },
    /// An entry of `remote` is of no known form. Bad values in an entry are no error.
    #[error("failed to read an entry of remote")]
    Remote {
        /// What is wrong with the entry.
        source: MemberError,
    },
    /// `remote` is no list.
    #[error("remote is not a list")]
    RemoteShape,
    /// The body is no object, or has an unknown field.
    #[error("failed to read the fields of the registration")]
    Shape {
        /// What is wrong with the body.
        source: MemberError,
    },
    /// `stamp` is absent or no integer.
    #[error("stamp is not an integer")]
    Stamp,
}

/// The entries of `remote`; null, which the original refuses, is not the same as absent.
fn entries(registration: &Value) -> Result<&[Value], RegistrationError> {
    match registration.get("remote") {
        None => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(Value::Object(object)) if object.is_empty() => Ok(&[]),
        Some(_) => Err(RegistrationError::RemoteShape),
    }
}
