//! Confines itself and reports, one line per claim, what it can and cannot do. Used by `tests/confine.rs`.
//!
//! `confined UID READABLE HIDDEN [SOCKET]`: a directory with a file `file`, another such, and where to receive a TUN
//! device from first. Ends when its standard input does, so that the test can look at it in `/proc`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, sendmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::sys::uio::writev;
use tunmesh_sys::privileges::{Confinement, confine};
use tunmesh_sys::{netns, resident, tun, udp};

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().unwrap_or_default();
    let uid = next().parse().map_err(io::Error::other)?;
    let (readable, hidden) = (PathBuf::from(next()), PathBuf::from(next()));
    let socket = next();
    let device = match socket.is_empty() {
        true => None,
        false => {
            let wanted = tun::Wanted { queues: 1, max_segments: None, token: b"" };
            Some(tun::receive(&socket, &wanted, Duration::from_secs(5)).map_err(io::Error::other)?.tun)
        }
    };
    let absent = readable.join("absent");
    let readable_paths = vec![readable.clone(), absent, PathBuf::from("/etc")];

    let confined = confine(&Confinement { uid, gid: uid, readable: readable_paths }).map_err(io::Error::other)?;

    claim("confined", io::Result::Ok(confined.to_string()))?;
    claim("device file", OpenOptions::new().read(true).open("/dev/net/tun"))?;
    claim("exec", Command::new("/bin/true").status())?;
    claim("write", OpenOptions::new().append(true).open(readable.join("file")))?;
    claim("create", File::create(readable.join("new")))?;
    claim("remove", fs::remove_file(readable.join("file")))?;
    claim("read", fs::read_to_string(readable.join("file")))?;
    claim("list", fs::read_dir(&readable).map(Iterator::count))?;
    claim("read hidden", fs::read_to_string(hidden.join("file")))?;
    claim("namespace", netns::Netns::create())?;
    claim("tcp", tcp())?;
    claim("resolve", ("localhost", 80).to_socket_addrs().map(|found| found.count() > 0))?;
    claim("udp", packet_threads())?;
    claim("thread", std::thread::spawn(|| "ran").join().map_err(|_| io::Error::other("panicked")))?;
    claim("rss", resident::rss_bytes().map(|bytes| bytes > 0))?;
    if let Some(device) = device {
        claim("packet", echo(&device))?;
    }
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn claim<T: std::fmt::Debug, E: std::fmt::Debug>(what: &str, outcome: Result<T, E>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{what}: {outcome:?}")?;
    out.flush()
}

fn tcp() -> io::Result<usize> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    client.write_all(b"hello")?;
    drop(client);
    listener.accept()?.0.read_to_end(&mut Vec::new())
}

/// Two threads as those of the data plane: one sends a burst that the kernel cuts and two more datagrams in one call,
/// the other waits for them and reads them; returns their lengths.
fn packet_threads() -> io::Result<Vec<usize>> {
    let settings = udp::Settings { reuse_port: true, receive_buffer: 1 << 20, send_buffer: 1 << 20 };
    let receiver = udp::socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), settings)?;
    let sender = udp::socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), settings)?;
    sender.connect(receiver.local_addr()?)?;
    setsockopt(&receiver, sockopt::UdpGroSegment, &true)?;
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&receiver));
        send(&sender)?;
        receiving.join().map_err(|_| io::Error::other("panicked"))?
    })
}

fn send(sender: &UdpSocket) -> io::Result<()> {
    let (burst, segment) = ([0; 2400], 1200);
    let cut = [ControlMessage::UdpGsoSegments(&segment)];
    sendmsg::<SockaddrIn>(sender.as_raw_fd(), &[IoSlice::new(&burst)], &cut, MsgFlags::empty(), None)?;
    let single = [[IoSlice::new(b"one")], [IoSlice::new(b"more")]];
    let mut headers = MultiHeaders::preallocate(single.len(), None);
    sendmmsg(sender.as_raw_fd(), &mut headers, &single, [None::<SockaddrIn>; 2], [], MsgFlags::empty())?;
    std::thread::yield_now();
    writev(sender, &[IoSlice::new(b"in "), IoSlice::new(b"parts")])?;
    Ok(())
}

fn receive(receiver: &UdpSocket) -> io::Result<Vec<usize>> {
    let mut lengths = Vec::new();
    while lengths.iter().sum::<usize>() < 2400 + 3 + 4 + 8 {
        let mut ready = [PollFd::new(receiver.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::from(5000_u16))?;
        ppoll(&mut ready, Some(TimeSpec::from(Duration::from_secs(5))), None)?;
        let mut buffers = [[0; 4096]; 4];
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(slices.len(), None);
        let received = recvmmsg(receiver.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_DONTWAIT, None)?;
        lengths.extend(received.map(|message| message.bytes));
    }
    Ok(lengths)
}

/// Writes back whatever packet the test sends first.
fn echo(device: &tun::Tun) -> io::Result<usize> {
    let mut packet = [0; 2048];
    loop {
        match device.read(&mut packet) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            read => {
                let len = read?;
                // Addresses are the last 8 of the 20 header bytes; swapping them leaves both checksums right.
                let (source, destination) = packet[12..20].split_at_mut(4);
                source.swap_with_slice(destination);
                let (from, to) = packet[20..24].split_at_mut(2);
                from.swap_with_slice(to);
                return device.write(&packet[..len]);
            }
        }
    }
}
