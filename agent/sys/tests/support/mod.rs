//! What several test files share.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "what tests share fails like a test")]
#![allow(unsafe_code, reason = "odd devices and other users are made with raw system calls")]

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use tunmesh_sys::netns::Netns;
use tunmesh_sys::tun::{Tun, TunSettings};

pub(crate) fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

/// A node 192.168.129.10/26 of the mesh 192.168.129.0/24.
pub(crate) fn settings(name: &str) -> TunSettings<'_> {
    TunSettings {
        name,
        address: net("192.168.129.10/26"),
        network: net("192.168.129.0/24"),
        extra_addresses: &[],
        routes: &[],
        mtu: 1400,
        queue_len: 300,
    }
}

/// Output of `ip` inside the namespace.
pub(crate) fn ip(netns: &Netns, arguments: &str) -> String {
    output(netns, Command::new("ip").args(arguments.split(' ')))
}

/// Standard output of a command that succeeds inside the namespace.
pub(crate) fn output(netns: &Netns, command: &mut Command) -> String {
    netns.join_on_exec(command).unwrap();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An example program of this crate; `cargo test` builds them before it runs the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: cargo build --examples", path.display());
    path
}

/// Waits until `condition` gives something; a test that waits ten seconds has failed.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

/// Writes an echo request from 192.168.129.70 to 192.168.129.10 and returns the next packet read.
pub(crate) fn ping(tun: &Tun) -> Vec<u8> {
    tun.write(&echo_request()).unwrap();
    let mut packet = vec![0; 2048];
    let len = eventually("a reply", || match tun.read(&mut packet) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        read => Some(read.unwrap()),
    });
    packet.truncate(len);
    packet
}

pub(crate) fn echo_request() -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0, 1, 0, 1];
    icmp.extend(b"tunmesh!");
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    ipv4(1, Ipv4Addr::new(192, 168, 129, 10), &icmp)
}

/// A UDP datagram from 192.168.129.70:1234, without a UDP checksum.
pub(crate) fn udp(destination: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let mut udp = Vec::new();
    udp.extend(1234_u16.to_be_bytes());
    udp.extend(port.to_be_bytes());
    udp.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    ipv4(17, destination.into(), &udp)
}

fn ipv4(protocol: u8, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, protocol, 0, 0, 192, 168, 129, 70]);
    packet.extend(destination.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(payload);
    packet
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// A device with any flags, in the calling thread's namespace.
pub(crate) fn raw_device(name: &str, flags: libc::c_int) -> OwnedFd {
    let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: an ifreq is integers, arrays of them and null pointers; all zero is a value of each.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the request points to a whole ifreq, alive for the call.
    let outcome = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
    file.into()
}

/// Makes the virtio header of a device `len` bytes long.
pub(crate) fn set_header_len(device: &OwnedFd, len: libc::c_int) {
    // SAFETY: the pointer is to a whole int, alive for the call.
    let outcome = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) };
    assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
}

/// Bytes of the virtio header of a device.
pub(crate) fn header_len(device: BorrowedFd<'_>) -> libc::c_int {
    let mut len = 0;
    // SAFETY: the pointer is to a whole int, alive and ours alone for the call.
    let outcome = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNGETVNETHDRSZ, &raw mut len) };
    assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
    len
}

/// Runs `work` in a thread that is user and group `id`; the other threads stay who they are.
pub(crate) fn as_user<T: Send>(id: u32, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let other = scope.spawn(move || {
            // SAFETY: by value only. The raw calls change this one thread, unlike the library's.
            let outcome = unsafe {
                libc::syscall(libc::SYS_setresgid, id, id, id) + libc::syscall(libc::SYS_setresuid, id, id, id)
            };
            assert_eq!(outcome, 0);
            work()
        });
        other.join().unwrap()
    })
}
