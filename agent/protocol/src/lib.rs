//! The Tun Mesh v0 wire contract and the configuration file.
//!
//! Everything here is a pure function of its arguments: no clock, no socket, no randomness. The agent hands in the time
//! as [`UnixTime`], random bytes as arrays, and the text of a file as a string. Only RSA draws on the random generator of
//! its library.
#![forbid(unsafe_code)]

mod batch;
mod body_digest;
mod capsule;
mod cidr;
pub mod config;
mod hex;
mod ipv6;
mod json;
mod node_id;
mod node_info;
mod packet;
mod registration;
mod secret;
mod session;
mod stamp;
mod token;
mod unix_time;
mod url;
mod window;

pub use batch::BatchError;
pub use body_digest::BodyDigest;
pub use capsule::{Capsule, CapsuleError, MAX_CAPSULE_LEN};
pub use cidr::{Ipv4Cidr, ParseCidrError};
pub use ipv6::{mesh_ipv6, mesh_ipv6_network};
pub use node_id::{NodeId, ParseNodeIdError};
pub use node_info::{Implementation, NodeInfo, NodeInfoError};
pub use packet::{Decoder, Encoder, MAX_PACKET_LEN, PacketError, PacketRef};
pub use registration::{ListedNode, Member, MemberError, Registration, RegistrationError, RegistrationListing};
pub use secret::Secret;
pub use session::{SessionError, SessionKey, answer_session};
pub use stamp::Stamp;
pub use token::{AuthError, AuthReason, Token, Verified, authorize, verify};
pub use unix_time::UnixTime;
pub use url::{ControlUrl, ParseUrlError};
pub use window::{Window, Windows};
