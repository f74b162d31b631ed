//! Why there is no TUN device.

use std::io;
use std::time::Duration;

use ipnet::IpNet;
use nix::errno::Errno;

use crate::links::LinkError;

/// Why a TUN device was not made, taken over, handed over or received.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// There is no device of that name.
    #[error("there is no network device named {name}")]
    Absent {
        /// Name asked for.
        name: String,
    },
    /// A device of that name exists.
    #[error("a network device named {name} exists already; stop what made it or choose another name")]
    Busy {
        /// Name asked for.
        name: String,
    },
    /// An address, route or property of the new device was refused.
    #[error("failed to configure the new TUN device")]
    Configure(#[source] LinkError),
    /// `/dev/net/tun` did not open.
    #[error("failed to open /dev/net/tun: {advice}")]
    DeviceFile {
        /// What to do about it.
        advice: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The name is not one the kernel takes.
    #[error("{name:?} is no device name: 1 to 15 bytes without white space, '/', ':' and '%'")]
    InvalidName {
        /// Name asked for.
        name: String,
    },
    /// A request on a descriptor failed.
    #[error("failed to ask the kernel about a TUN device ({request})")]
    Ioctl {
        /// Name of the request.
        request: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The other side's message is not one of ours.
    #[error("the other side of {socket} sent a malformed message")]
    Malformed {
        /// Socket of the hand-over.
        socket: String,
    },
    /// Nobody listened, or nobody answered, in time.
    #[error("no helper answered on {socket} within {timeout:?}")]
    NoHelper {
        /// Socket of the hand-over.
        socket: String,
        /// How long was waited.
        timeout: Duration,
        /// What the kernel said last.
        source: io::Error,
    },
    /// The process lacks the capability.
    #[error(
        "not permitted to make TUN device {name}: needs CAP_NET_ADMIN in this network namespace; run as root, add \
         NET_ADMIN to the container's capabilities, or have a node helper hand a device over"
    )]
    NotPermitted {
        /// Name asked for.
        name: String,
    },
    /// The descriptor is not a device this crate can use.
    #[error("the descriptor handed over cannot be used: {0}")]
    NotUsable(NotUsable),
    /// The listener is not a process that may hand over devices; nothing was sent to it.
    #[error("the listener on {socket} is user {uid}, not the node helper; nothing was sent to it")]
    Peer {
        /// Socket of the hand-over.
        socket: String,
        /// User of the listener as seen from here.
        uid: u32,
    },
    /// The helper refused, or closed the connection without a word.
    #[error("the helper on {socket} refused to hand over a device{}", reason.map(|reason| format!(": {reason}")).unwrap_or_default())]
    Refused {
        /// Socket of the hand-over.
        socket: String,
        /// What it said.
        reason: Option<Refusal>,
    },
    /// The host routes that network elsewhere already.
    #[error("{destination} is routed already on this host; the mesh would take it over")]
    RouteTaken {
        /// Network that is routed.
        destination: IpNet,
    },
    /// The socket could not be made, bound, or used.
    #[error("failed to use socket {socket}")]
    Socket {
        /// Socket of the hand-over.
        socket: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why a helper hands no device over. Most pass: trying again later is the thing to do.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
pub enum Refusal {
    /// Too many attempts in this network namespace.
    #[error("too many attempts, try again later")]
    Busy = 1,
    /// The kernel refused the device, or it is another pod's.
    #[error("the device could not be made, its log says why")]
    Device = 2,
    /// The request is none of this version.
    #[error("it does not understand the request")]
    Malformed = 3,
    /// There is no member of the pod's name and UID with an address.
    #[error("the pod is no member of a mesh, or not yet")]
    Member = 4,
    /// The token is not that of a pod on this node, or not for the helper, or too old.
    #[error("the token is none of a pod of this node for the node helper")]
    Token = 5,
    /// The API server did not answer.
    #[error("the API server does not answer it")]
    Unavailable = 6,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Busy, Self::Device, Self::Malformed, Self::Member, Self::Token, Self::Unavailable];

    pub(super) fn code(self) -> u16 {
        self as u16
    }

    pub(super) fn of_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// What is wrong with a descriptor handed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotUsable {
    /// `/dev/net/tun` opened, but no device made.
    #[error("it is attached to no device")]
    Detached,
    /// A further queue of another device than the first.
    #[error("its queues are of different devices")]
    OtherDevice,
    /// Not `/dev/net/tun`.
    #[error("it is not /dev/net/tun")]
    OtherFile,
    /// Made without `IFF_NO_PI`.
    #[error("its packets begin with packet information (made without IFF_NO_PI)")]
    PacketInformation,
    /// A layer-2 device.
    #[error("it is a TAP, not a TUN")]
    Tap,
    /// Made with `IFF_VNET_HDR`, and the kernel refuses the length of the header this crate reads.
    #[error("its packets begin with a virtio header of another length than 10 bytes")]
    VirtioHeader,
}

impl TunError {
    pub(super) fn ioctl(request: &'static str, error: Errno) -> Self {
        Self::Ioctl { request, source: error.into() }
    }
}
