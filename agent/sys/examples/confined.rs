//! Confines itself and reports, one line per claim, what it can and cannot do. Used by `tests/confine.rs`.
//!
//! `confined UID READABLE HIDDEN [SOCKET]`: a directory with a file `file`, another such, and where to receive a TUN
//! device from first. Ends when its standard input does, so that the test can look at it in `/proc`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tunmesh_sys::privileges::{Confinement, confine};
use tunmesh_sys::{netns, resident, tun};

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().unwrap_or_default();
    let uid = next().parse().map_err(io::Error::other)?;
    let (readable, hidden) = (PathBuf::from(next()), PathBuf::from(next()));
    let socket = next();
    let device = match socket.is_empty() {
        true => None,
        false => Some(tun::receive(&socket, Duration::from_secs(5)).map_err(io::Error::other)?),
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
