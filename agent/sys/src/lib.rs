//! The host: TUN devices, UDP sockets, netlink, network namespaces, privileges, descriptor passing. The only unsafe code.
//!
//! Everything here blocks or is non-blocking by descriptor; nothing is async and nothing starts a thread that outlives
//! the call. What the crate makes on a host vanishes with the process that made it: a TUN device with its last
//! descriptor, a [`nft::OwnedTable`] with its socket, a [`netns::Netns`] with its last user, [`private`] namespaces
//! with their parent. So nothing has to be undone after a kill.

mod capabilities;
pub mod descriptors;
pub mod fd;
pub mod links;
pub mod memory;
mod netlink;
pub mod netns;
pub mod nft;
mod path_mtu;
pub mod private;
pub mod privileges;
pub mod resident;
pub mod star;
pub mod tun;
pub mod udp;

pub use path_mtu::path_mtu;
