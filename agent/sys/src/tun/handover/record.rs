//! The records, as bytes and as what they say.
#![expect(unsafe_code, reason = "received descriptor numbers become owned descriptors here")]

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

use crate::tun::{Origin, Refusal};

/// What an agent asks for.
#[derive(Clone, Eq, PartialEq)]
pub struct Hello {
    /// Queues it wants, at most 64; none if the device it has is to be brought up to date.
    pub queues: u16,
    /// Segments that a super packet of the pod's own connections may have at most.
    pub max_segments: Option<u16>,
    /// What proves who it is, for whoever asks for a proof; at most 8,192 bytes.
    pub token: Vec<u8>,
}

/// Without the token, which is a secret.
impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queues, max_segments, token } = self;
        f.debug_struct("Hello")
            .field("queues", queues)
            .field("max_segments", max_segments)
            .field("token_len", &token.len())
            .finish()
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Record {
    Device { queues: u16, mtu: u32, origin: Origin, name: String },
    Hello(Hello),
    Lifted { sockets: u16 },
    Refused(Refusal),
    Sockets { sockets: u16, bytes: u32 },
}

impl Record {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (kind, count) = match self {
            Self::Hello(Hello { queues, .. }) => (HELLO, *queues),
            Self::Device { queues, .. } => (DEVICE, *queues),
            Self::Refused(reason) => (REFUSED, reason.code()),
            Self::Sockets { sockets, .. } => (SOCKETS, *sockets),
            Self::Lifted { sockets } => (LIFTED, *sockets),
        };
        let mut bytes = [&MAGIC[..], &[VERSION, kind], &count.to_be_bytes()].concat();
        match self {
            Self::Hello(Hello { max_segments, token, .. }) => {
                bytes.extend(max_segments.unwrap_or(0).to_be_bytes());
                bytes.extend(token);
            }
            Self::Device { mtu, origin, name, .. } => {
                bytes.extend(mtu.to_be_bytes());
                bytes.push(match origin {
                    Origin::Existed => 1,
                    Origin::Fresh => 0,
                });
                bytes.extend(name.as_bytes());
            }
            Self::Sockets { bytes: wanted, .. } => bytes.extend(wanted.to_be_bytes()),
            Self::Lifted { .. } | Self::Refused(_) => {}
        }
        bytes
    }

    /// `None` for what is no record of this version.
    pub(super) fn parse(record: &[u8]) -> Option<Self> {
        let (&[a, b, c, d, version, kind, high, low], body) = record.split_first_chunk::<HEADER_LEN>()?;
        if [a, b, c, d] != MAGIC || version != VERSION {
            return None;
        }
        let count = u16::from_be_bytes([high, low]);
        match kind {
            HELLO => {
                let (segments, token) = body.split_first_chunk()?;
                let segments = u16::from_be_bytes(*segments);
                let max_segments = (segments > 0).then_some(segments);
                let is_valid = count <= MAX_QUEUES && token.len() <= MAX_TOKEN;
                is_valid.then(|| Self::Hello(Hello { queues: count, max_segments, token: token.to_vec() }))
            }
            DEVICE => {
                let (mtu, rest) = body.split_first_chunk()?;
                let (origin, name) = rest.split_first()?;
                let origin = match origin {
                    0 => Origin::Fresh,
                    1 => Origin::Existed,
                    _ => return None,
                };
                let name = str::from_utf8(name).ok().filter(|name| (1..libc::IFNAMSIZ).contains(&name.len()))?;
                Some(Self::Device { queues: count, mtu: u32::from_be_bytes(*mtu), origin, name: name.to_owned() })
            }
            REFUSED => Some(Self::Refused(Refusal::of_code(count)?)),
            SOCKETS => {
                let bytes = u32::from_be_bytes(*body.first_chunk()?);
                Some(Self::Sockets { sockets: count, bytes })
            }
            LIFTED => Some(Self::Lifted { sockets: count }),
            _ => None,
        }
    }

    /// Sends it with `fds`, whole or not at all.
    pub(super) fn send(&self, connection: &OwnedFd, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if fds.is_empty() { &[][..] } else { &rights[..] };
        let bytes = self.to_bytes();
        let payload = [IoSlice::new(&bytes)];
        sendmsg::<UnixAddr>(connection.as_raw_fd(), &payload, control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }
}

/// One message of the other side.
pub(super) enum Incoming {
    Closed,
    Malformed,
    Record(Record, Vec<OwnedFd>),
}

/// Receives one message. Without `takes_fds` the kernel closes descriptors that come along.
pub(super) fn receive(connection: &OwnedFd, takes_fds: bool) -> Result<Incoming, Errno> {
    let mut record = [0; MAX_RECORD];
    let mut payload = [IoSliceMut::new(&mut record)];
    // Room for all that one message can carry (SCM_MAX_FD): of those that find none, some are open and nobody knows them.
    let mut control = nix::cmsg_space!([RawFd; 253]);
    let control = takes_fds.then_some(&mut control[..]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = match recvmsg::<UnixAddr>(connection.as_raw_fd(), &mut payload, control, flags) {
        Err(Errno::ECONNRESET) => return Ok(Incoming::Closed),
        received => received?,
    };
    let mut fds = Vec::new();
    if takes_fds {
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                // SAFETY: the kernel has just opened these for us; owned here, those not wanted are closed on return.
                fds.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
            }
        }
    }
    let (len, cut) = (message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC));
    if len == 0 {
        return Ok(Incoming::Closed);
    }
    let parsed = if cut { None } else { Record::parse(&record[..len]) };
    Ok(parsed.map_or(Incoming::Malformed, |record| Incoming::Record(record, fds)))
}

const MAGIC: [u8; 4] = *b"TMNH";
const VERSION: u8 = 1;
const HELLO: u8 = 1;
const DEVICE: u8 = 2;
const REFUSED: u8 = 3;
const SOCKETS: u8 = 4;
const LIFTED: u8 = 5;

const HEADER_LEN: usize = 8;
/// Queues of one device, and sockets of one agent; the kernel takes up to 253 descriptors with a message.
pub(super) const MAX_QUEUES: u16 = 64;
/// A ServiceAccount token has about 1 kB.
pub(super) const MAX_TOKEN: usize = 8192;
const MAX_RECORD: usize = HEADER_LEN + 2 + MAX_TOKEN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_these_bytes() {
        let hello = Hello { queues: 2, max_segments: Some(44), token: b"token".to_vec() };
        let update = Hello { queues: 0, max_segments: None, token: Vec::new() };
        let device = Record::Device { queues: 2, mtu: 1420, origin: Origin::Existed, name: "tunmesh0".into() };
        let records = [
            (Record::Hello(hello), &b"TMNH\x01\x01\x00\x02\x00\x2ctoken"[..]),
            (Record::Hello(update), b"TMNH\x01\x01\x00\x00\x00\x00"),
            (device, b"TMNH\x01\x02\x00\x02\x00\x00\x05\x8c\x01tunmesh0"),
            (Record::Refused(Refusal::Token), b"TMNH\x01\x03\x00\x05"),
            (Record::Sockets { sockets: 2, bytes: 2 << 20 }, b"TMNH\x01\x04\x00\x02\x00\x20\x00\x00"),
            (Record::Lifted { sockets: 2 }, b"TMNH\x01\x05\x00\x02"),
        ];
        for (record, bytes) in records {
            assert_eq!(record.to_bytes(), bytes);
            assert_eq!(Record::parse(bytes), Some(record));
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        let too_long = [&b"TMNH\x01\x01\x00\x01\x00\x00"[..], &[b'x'; MAX_TOKEN + 1]].concat();
        for record in [
            &b"TMNH\x01\x01\x00"[..],
            b"TMNX\x01\x01\x00\x01\x00\x00",
            b"TMNH\x02\x01\x00\x01\x00\x00",
            b"TMNH\x01\x06\x00\x01\x00\x00",
            b"TMNH\x01\x01\x00\x41\x00\x00",
            b"TMNH\x01\x01\x00\x01\x00",
            b"TMNH\x01\x02\x00\x01\x00\x00\x05\x8c\x00",
            b"TMNH\x01\x02\x00\x01\x00\x00\x05\x8c\x02tun0",
            b"TMNH\x01\x02\x00\x01\x00\x00\x05\x8c\x00sixteen-bytes-xx",
            b"TMNH\x01\x03\x00\x63",
            b"TMNH\x01\x04\x00\x01\x00",
            &too_long,
        ] {
            assert_eq!(Record::parse(record), None, "{record:?}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let hello = Hello { queues: 1, max_segments: None, token: b"secret".to_vec() };

        assert_eq!(format!("{hello:?}"), "Hello { queues: 1, max_segments: None, token_len: 6 }");
    }
}
