//! The agent's side.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{SockFlag, connect};
use nix::unistd::geteuid;

use super::record::{Hello, Incoming, MAX_TOKEN, Record, receive as receive_record};
use super::{address, limit, peer_of, seqpacket, unusable};
use crate::tun::{Origin, Tun, TunError, adopt};

/// What an agent asks a helper for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Queues, 1 to 64; without meaning for [`update`].
    pub queues: u16,
    /// Segments that a super packet of this host's own connections may have at most.
    pub max_segments: Option<u16>,
    /// What proves who we are, for a helper that asks for a proof; at most 8,192 bytes.
    pub token: &'a [u8],
}

/// What a helper gave.
#[derive(Debug)]
pub struct Received {
    /// The device. What waited in it from before is gone.
    pub tun: Tun,
    /// Whether it was there before.
    pub origin: Origin,
    /// The helper, for one more favour.
    pub helper: Helper,
}

/// The connection to a helper that handed a device over.
#[derive(Debug)]
pub struct Helper {
    connection: OwnedFd,
    socket: String,
}

/// Receives a device from the helper that listens on `socket`: a path, or `@name` for an abstract name.
///
/// Tries again while nobody listens, until `timeout`. Sends nothing before the listener is known to be one of:
/// - user 0, the helper;
/// - user 65534 when this process is in a user namespace: a helper outside it has no number inside. A process whose
///   number inside really is 65534 looks the same, so no container of such a pod may run as 65534;
/// - this process' own user, only in a user namespace that has no user 0 (rootless: there is one user and nothing to
///   tell apart). Elsewhere an application that happens to run as the same user could stand in for the helper.
pub fn receive(socket: &str, wanted: &Wanted<'_>, timeout: Duration) -> Result<Received, TunError> {
    let Answer { connection, fds, name, mtu, origin } = ask(socket, wanted, timeout)?;
    let tun = adopt::adopt_queues(fds)?;
    if tun.name() != name || tun.mtu() != mtu {
        return Err(malformed(socket));
    }
    if origin == Origin::Existed {
        tun.queues().iter().for_each(discard);
    }
    Ok(Received { tun, origin, helper: Helper { connection, socket: socket.to_owned() } })
}

/// Has the helper that listens on `socket` bring `device`, which it made, to the networks and the MTU it should have now,
/// and returns that MTU, in bytes.
///
/// Waits and trusts as [`receive`] does, which must have been called before this process was confined. Packets go on in
/// the queues there are; no other comes, as one that nobody reads swallows packets.
pub fn update(socket: &str, device: &str, wanted: &Wanted<'_>, timeout: Duration) -> Result<u32, TunError> {
    let answer = ask(socket, &Wanted { queues: 0, ..*wanted }, timeout)?;
    let mtu = adopt::describe(device)?;
    if (&*answer.name, answer.mtu) != (device, mtu) {
        return Err(malformed(socket));
    }
    Ok(mtu)
}

/// A device as the helper tells of it.
struct Answer {
    connection: OwnedFd,
    /// As many as were wanted.
    fds: Vec<OwnedFd>,
    name: String,
    mtu: u32,
    origin: Origin,
}

fn ask(socket: &str, wanted: &Wanted<'_>, timeout: Duration) -> Result<Answer, TunError> {
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
    let Wanted { queues, max_segments, token } = *wanted;
    if token.len() > MAX_TOKEN {
        return Err(unusable(socket, Errno::EMSGSIZE));
    }
    let hello = Record::Hello(Hello { queues, max_segments, token: token.to_vec() });
    let (record, fds) = match exchange(&connection, &hello, &[], queues > 0) {
        Ok(Incoming::Closed) => return Err(TunError::Refused { socket: socket.to_owned(), reason: None }),
        Ok(Incoming::Malformed) => return Err(malformed(socket)),
        Ok(Incoming::Record(record, fds)) => (record, fds),
        Err(Errno::EAGAIN) => return Err(overdue(Errno::ETIMEDOUT)),
        Err(errno) => return Err(unusable(socket, errno)),
    };
    match record {
        Record::Device { queues: given, mtu, origin, name } if given == queues && fds.len() == usize::from(given) => {
            Ok(Answer { connection, fds, name, mtu, origin })
        }
        Record::Refused(reason) => Err(TunError::Refused { socket: socket.to_owned(), reason: Some(reason) }),
        Record::Device { .. } | Record::Hello(_) | Record::Lifted { .. } | Record::Sockets { .. } => {
            Err(malformed(socket))
        }
    }
}

fn malformed(socket: &str) -> TunError {
    TunError::Malformed { socket: socket.to_owned() }
}

impl Helper {
    /// Has the helper give UDP sockets buffers of `bytes` each way, beyond the host's limits, and returns how many got
    /// them. Gives up after `timeout`; the sockets are as good as before then.
    pub fn lift_buffers(self, sockets: &[BorrowedFd<'_>], bytes: u32, timeout: Duration) -> Result<u16, TunError> {
        let failed = |errno| unusable(&self.socket, errno);
        limit(&self.connection, timeout).map_err(failed)?;
        let count = u16::try_from(sockets.len()).map_err(|_| failed(Errno::E2BIG))?;
        let request = Record::Sockets { sockets: count, bytes };
        match exchange(&self.connection, &request, sockets, false).map_err(failed)? {
            Incoming::Record(Record::Lifted { sockets }, _) => Ok(sockets),
            Incoming::Closed => Err(TunError::Refused { socket: self.socket, reason: None }),
            Incoming::Record(..) | Incoming::Malformed => Err(malformed(&self.socket)),
        }
    }
}

/// Sends one record and receives the answer.
fn exchange(connection: &OwnedFd, record: &Record, fds: &[BorrowedFd<'_>], takes_fds: bool) -> Result<Incoming, Errno> {
    match record.send(connection, fds) {
        Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(Incoming::Closed),
        sent => sent?,
    }
    receive_record(connection, takes_fds)
}

/// Drops what waited to be read: it was meant for an agent that is gone.
fn discard(queue: &super::super::Queue) {
    let mut buffer = [0; 64];
    for _ in 0..MAX_STALE {
        if queue.read(&mut buffer).is_err() {
            return;
        }
    }
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
    /// As it was when this was asked first: a confined process cannot read it, and is not moved to another.
    fn ours() -> Self {
        static OURS: OnceLock<UserNamespace> = OnceLock::new();
        // Unreadable means no proof of a child namespace: the strictest rule.
        let read = || std::fs::read_to_string("/proc/self/uid_map").map_or(Self::Initial, |map| Self::parse(&map));
        *OURS.get_or_init(read)
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
        let connection = seqpacket(SockFlag::empty()).map_err(Failure::Socket)?;
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

/// The number the kernel shows for a user that has none in this user namespace.
const OVERFLOW_UID: u32 = 65534;
/// A helper that is about to listen does so within milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(200);
/// Packets that can wait in a queue whose length nobody changed, and then some; a bound, as new ones may come all the time.
const MAX_STALE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

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
