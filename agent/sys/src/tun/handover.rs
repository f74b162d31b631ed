//! Descriptor passing between a node helper, which may make devices, and an agent, which may nothing.
//!
//! A `SOCK_SEQPACKET` Unix socket, so a message is a record. Both begin alike; numbers are big endian:
//!
//! ```text
//! offset size
//!      0    4  "TMNH"
//!      4    1  version, 1
//!      5    1  kind: 1 HELLO, agent to helper; 2 DEVICE, helper to agent
//!      6    2  HELLO: queues wanted; DEVICE: descriptors with this record (SCM_RIGHTS). Both 1 in version 1
//! ```
//!
//! A record is 8 bytes; up to 4096 bytes may follow and are ignored, so that a later HELLO can carry a token. The
//! helper refuses by closing the connection. It keeps no copy of the descriptor: a copy nobody reads swallows packets.
#![expect(unsafe_code, reason = "received descriptor numbers become owned descriptors here")]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind,
    connect, getsockopt, recv, recvmsg, send, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::geteuid;

use super::{Tun, TunError, adopt};

/// The process at the other end of a hand-over, as the kernel vouches for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// User, as seen in this process' user namespace; 65534 if it has no number here.
    pub uid: u32,
    /// Group, likewise.
    pub gid: u32,
    /// Process, as seen in this process' process namespace; 0 if it has no number here.
    pub pid: i32,
}

/// Receives a device from the helper that listens on `socket`: a path, or `@name` for an abstract name.
///
/// Tries again while nobody listens, until `timeout`. Sends nothing before the listener is known to be one of:
/// - user 0, the helper;
/// - user 65534 when this process is in a user namespace: a helper outside it has no number inside. A process whose
///   number inside really is 65534 looks the same, so no container of such a pod may run as 65534;
/// - this process' own user, only in a user namespace that has no user 0 (rootless: there is one user and nothing to
///   tell apart). Elsewhere an application that happens to run as the same user could stand in for the helper.
pub fn receive(socket: &str, timeout: Duration) -> Result<Tun, TunError> {
    let deadline = Instant::now() + timeout;
    let overdue = |source: Errno| TunError::NoHelper { socket: socket.to_owned(), timeout, source: source.into() };
    let connection = connect_until(socket, deadline).map_err(|failure| match failure {
        Failure::Late(last) => overdue(last),
        Failure::Socket(errno) => unusable(socket, errno),
    })?;
    let uid = peer_of(&connection).map_err(|errno| unusable(socket, errno))?.uid;
    if !UserNamespace::ours().vouches_for(uid, geteuid().as_raw()) {
        return Err(TunError::Peer { socket: socket.to_owned(), uid });
    }
    limit(&connection, deadline.saturating_duration_since(Instant::now())).map_err(|errno| unusable(socket, errno))?;
    match exchange(&connection) {
        Ok(Reply::Closed) => Err(TunError::Refused { socket: socket.to_owned() }),
        Ok(Reply::Device(fd)) => adopt(fd),
        Ok(Reply::Malformed) => Err(TunError::Malformed { socket: socket.to_owned() }),
        Err(Errno::EAGAIN) => Err(overdue(Errno::ETIMEDOUT)),
        Err(errno) => Err(unusable(socket, errno)),
    }
}

/// Listens for agents on `socket`: a path, or `@name` for an abstract name in this thread's network namespace.
pub fn listen(socket: &str) -> Result<OwnedFd, TunError> {
    let listening = || {
        let listener = seqpacket()?;
        bind(listener.as_raw_fd(), &address(socket)?)?;
        nix::sys::socket::listen(&listener, Backlog::new(LISTEN_BACKLOG)?)?;
        Ok(listener)
    };
    listening().map_err(|errno| unusable(socket, errno))
}

/// Waits for one agent and hands it the device that `give` makes or finds for it.
///
/// `give` decides by the peer before anything costly is done; its error closes the connection, which the agent sees as
/// a refusal, and is returned. The descriptor given is closed here once it is sent. An agent that says nothing is
/// given up after `timeout`. Descriptors an agent sends are discarded by the kernel.
pub fn hand_over(
    listener: BorrowedFd<'_>,
    timeout: Duration,
    give: impl FnOnce(Peer) -> io::Result<OwnedFd>,
) -> io::Result<Peer> {
    let accepted = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 has just opened the descriptor and nothing else knows it.
    let connection = unsafe { OwnedFd::from_raw_fd(accepted) };
    limit(&connection, timeout)?;
    let peer = peer_of(&connection)?;
    let mut record = [0; MAX_RECORD];
    // No room for control data: the kernel closes descriptors nobody asked for.
    let len = recv(connection.as_raw_fd(), &mut record, MsgFlags::empty())?;
    if header(&record[..len]) != Some((Kind::Hello, 1)) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let device = give(peer)?;
    let fds = [device.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let record = record_of(Kind::Device);
    let payload = [IoSlice::new(&record)];
    sendmsg::<UnixAddr>(connection.as_raw_fd(), &payload, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(peer)
}

/// Which users of this process' user namespace can be the helper.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum UserNamespace {
    /// The host's.
    Initial,
    /// A child that maps user 0.
    Rooted,
    /// A child that does not.
    Rootless,
}

impl UserNamespace {
    fn ours() -> Self {
        // Unreadable means no proof of a child namespace: the strictest rule.
        std::fs::read_to_string("/proc/self/uid_map").map_or(Self::Initial, |map| Self::parse(&map))
    }

    /// Lines of `uid_map`: first user inside, first outside, number of users.
    fn parse(map: &str) -> Self {
        let ranges: Vec<Vec<u64>> =
            map.lines().map(|line| line.split_ascii_whitespace().flat_map(str::parse).collect()).collect();
        if ranges == [[0, 0, u64::from(u32::MAX)]] {
            return Self::Initial;
        }
        if ranges.iter().any(|range| range.first() == Some(&0)) { Self::Rooted } else { Self::Rootless }
    }

    fn vouches_for(self, uid: u32, own: u32) -> bool {
        match self {
            Self::Initial => uid == 0,
            Self::Rooted => uid == 0 || uid == OVERFLOW_UID,
            Self::Rootless => uid == OVERFLOW_UID || uid == own,
        }
    }
}

enum Failure {
    /// Nobody listened until the deadline; what the kernel said last.
    Late(Errno),
    Socket(Errno),
}

fn connect_until(name: &str, deadline: Instant) -> Result<OwnedFd, Failure> {
    let address = address(name).map_err(Failure::Socket)?;
    let mut pause = FIRST_PAUSE;
    loop {
        let connection = seqpacket().map_err(Failure::Socket)?;
        let left = deadline.saturating_duration_since(Instant::now());
        limit(&connection, left).map_err(Failure::Socket)?;
        let absent = match connect(connection.as_raw_fd(), &address) {
            Ok(()) => return Ok(connection),
            Err(errno @ (Errno::EAGAIN | Errno::ECONNREFUSED | Errno::EINTR | Errno::ENOENT)) => errno,
            Err(errno) => return Err(Failure::Socket(errno)),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::Late(absent));
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

enum Reply {
    Closed,
    Device(OwnedFd),
    Malformed,
}

fn exchange(connection: &OwnedFd) -> Result<Reply, Errno> {
    match send(connection.as_raw_fd(), &record_of(Kind::Hello), MsgFlags::MSG_NOSIGNAL) {
        Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(Reply::Closed),
        sent => sent?,
    };
    let mut record = [0; MAX_RECORD];
    let mut payload = [IoSliceMut::new(&mut record)];
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = match recvmsg::<UnixAddr>(connection.as_raw_fd(), &mut payload, Some(&mut control), flags) {
        Err(Errno::ECONNRESET) => return Ok(Reply::Closed),
        received => received?,
    };
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: the kernel has just opened these for us; owned here, those not wanted are closed on return.
            fds.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    let len = message.bytes;
    if len == 0 {
        return Ok(Reply::Closed);
    }
    let Some((Kind::Device, count)) = header(&record[..len]) else { return Ok(Reply::Malformed) };
    match (fds.pop(), fds.is_empty(), count) {
        (Some(fd), true, 1) => Ok(Reply::Device(fd)),
        (_, _, _) => Ok(Reply::Malformed),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Hello = 1,
    Device = 2,
}

fn record_of(kind: Kind) -> [u8; RECORD_LEN] {
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, VERSION, kind as u8, 0, 1]
}

fn header(record: &[u8]) -> Option<(Kind, u16)> {
    let (&[a, b, c, d, version, kind, high, low], _later) = record.split_first_chunk::<RECORD_LEN>()?;
    if [a, b, c, d] != MAGIC || version != VERSION {
        return None;
    }
    let kind = [Kind::Hello, Kind::Device].into_iter().find(|known| *known as u8 == kind)?;
    Some((kind, u16::from_be_bytes([high, low])))
}

fn seqpacket() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
}

fn address(socket: &str) -> Result<UnixAddr, Errno> {
    match socket.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()),
        None => UnixAddr::new(socket),
    }
}

fn peer_of(connection: &OwnedFd) -> Result<Peer, Errno> {
    let credentials = getsockopt(&connection.as_fd(), sockopt::PeerCredentials)?;
    Ok(Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
}

/// Bounds how long a connect, send or receive on the socket may block.
fn limit(connection: &OwnedFd, left: Duration) -> Result<(), Errno> {
    // Zero would mean no limit at all.
    let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
    let time = TimeVal::microseconds(micros.min(MAX_WAIT_MICROS));
    setsockopt(connection, sockopt::ReceiveTimeout, &time)?;
    setsockopt(connection, sockopt::SendTimeout, &time)
}

fn unusable(socket: &str, errno: Errno) -> TunError {
    TunError::Socket { socket: socket.to_owned(), source: errno.into() }
}

const MAGIC: [u8; 4] = *b"TMNH";
const VERSION: u8 = 1;
/// Length of a record in bytes.
const RECORD_LEN: usize = 8;
const MAX_RECORD: usize = RECORD_LEN + 4096;
/// Descriptors there is room for, so that one too many is seen; the kernel closes what does not fit.
const MAX_FDS: usize = 16;
const LISTEN_BACKLOG: i32 = 16;
/// The number the kernel shows for a user that has none in this user namespace.
const OVERFLOW_UID: u32 = 65534;
/// A helper that is about to listen does so within milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(200);
const MAX_WAIT_MICROS: i64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_these_bytes() {
        assert_eq!(record_of(Kind::Hello), *b"TMNH\x01\x01\x00\x01");
        assert_eq!(record_of(Kind::Device), *b"TMNH\x01\x02\x00\x01");
    }

    #[test]
    fn a_record_may_be_longer_but_not_shorter_or_other() {
        assert_eq!(header(b"TMNH\x01\x01\x00\x01token"), Some((Kind::Hello, 1)));
        assert_eq!(header(b"TMNH\x01\x02\x01\x00"), Some((Kind::Device, 256)));
        for record in
            [&b"TMNH\x01\x01\x00"[..], b"TMNX\x01\x01\x00\x01", b"TMNH\x02\x01\x00\x01", b"TMNH\x01\x03\x00\x01"]
        {
            assert_eq!(header(record), None, "{record:?}");
        }
    }

    #[test]
    fn only_a_helper_is_vouched_for() {
        const OWN: u32 = 65532;
        let cases = [
            ("         0          0 4294967295\n", UserNamespace::Initial, [true, false, false]),
            ("         0  231072000      65536\n", UserNamespace::Rooted, [true, false, true]),
            ("     65532       1000          1\n", UserNamespace::Rootless, [false, true, true]),
        ];
        for (map, expected, vouched) in cases {
            let namespace = UserNamespace::parse(map);

            assert_eq!(namespace, expected);
            assert_eq!([0, OWN, OVERFLOW_UID].map(|uid| namespace.vouches_for(uid, OWN)), vouched, "{map}");
        }
    }
}
