use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Sends ICMP echo requests (RFC 792) from the network namespace of the calling thread.
pub(super) struct Pinger {
    socket: Socket,
    identifier: u16,
    sequence: u16,
}

impl Pinger {
    /// Opens a raw ICMP socket; `identifier` tells replies to several pingers apart.
    pub(super) fn new(identifier: u16) -> io::Result<Self> {
        Ok(Self { socket: Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?, identifier, sequence: 0 })
    }

    /// Round trip of one echo, or `None` if no reply came within `limit`.
    pub(super) fn ping(&mut self, to: Ipv4Addr, limit: Duration) -> io::Result<Option<Duration>> {
        self.sequence = self.sequence.wrapping_add(1);
        let sent_at = Instant::now();
        match self.socket.send_to(&self.request(), &SocketAddrV4::new(to, 0).into()) {
            Ok(_) => {}
            // No route or no device yet: a lost ping, not an error of the pinger.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let mut packet = [0; 256];
        loop {
            let Some(left) = limit.checked_sub(sent_at.elapsed()).filter(|left| !left.is_zero()) else {
                return Ok(None);
            };
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.read(&mut packet) {
                Ok(len) if self.is_reply(&packet[..len]) => return Ok(Some(sent_at.elapsed())),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn request(&self) -> [u8; 64] {
        let mut message = [0; 64];
        message[0] = ECHO_REQUEST;
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        let checksum = tunmesh_packet::checksum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        message
    }

    /// A raw socket gets every ICMP packet of the namespace, IP header included.
    fn is_reply(&self, packet: &[u8]) -> bool {
        let Ok(header) = tunmesh_packet::parse(packet) else {
            return false;
        };
        packet.get(header.header_len()..).is_some_and(|icmp| {
            icmp.len() >= 8
                && icmp[0] == ECHO_REPLY
                && icmp[4..6] == self.identifier.to_be_bytes()
                && icmp[6..8] == self.sequence.to_be_bytes()
        })
    }
}

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
