use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tunmesh_sys::netns::Netns;

use super::ping::Pinger;

/// Bits per second of one TCP stream between two namespaces, as the receiver saw them.
pub(super) fn throughput(from: &Netns, to: &Netns, address: Ipv4Addr, time: Duration) -> anyhow::Result<f64> {
    let listener = to.run(|| TcpListener::bind(SocketAddrV4::new(address, 0)))??;
    let target = listener.local_addr()?;
    let stream = from.run(|| TcpStream::connect_timeout(&target, CONNECT_LIMIT))??;
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || receive(&listener));
        send(stream, time)?;
        Ok(receiver.join().unwrap_or_else(|_| Err(io::Error::other("the receiver failed")))?)
    })
}

fn send(mut stream: TcpStream, time: Duration) -> io::Result<()> {
    let started = Instant::now();
    let block = vec![0x5a; BLOCK_LEN];
    stream.set_write_timeout(Some(CONNECT_LIMIT))?;
    while started.elapsed() < time {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)
}

fn receive(listener: &TcpListener) -> io::Result<f64> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(CONNECT_LIMIT))?;
    let started = Instant::now();
    let mut block = vec![0; BLOCK_LEN];
    let mut total = 0_u64;
    loop {
        match stream.read(&mut block)? {
            0 => break,
            len => total += len as u64,
        }
    }
    Ok(total as f64 * 8.0 / started.elapsed().as_secs_f64())
}

/// Round trips of `count` echoes, one after the other, sorted; lost ones are missing.
pub(super) fn round_trips(from: &Netns, to: Ipv4Addr, count: u16) -> anyhow::Result<Vec<Duration>> {
    from.run(|| {
        let mut pinger = Pinger::new(1)?;
        let mut times = Vec::new();
        for _ in 0..count {
            times.extend(pinger.ping(to, PING_LIMIT)?);
        }
        times.sort_unstable();
        Ok(times)
    })?
}

/// Time until a first echo came back, or `None` if none did within `limit`.
pub(super) fn first_reply(from: &Netns, to: Ipv4Addr, limit: Duration) -> anyhow::Result<Option<Duration>> {
    from.run(|| {
        let mut pinger = Pinger::new(2)?;
        let started = Instant::now();
        while started.elapsed() < limit {
            if pinger.ping(to, PROBE_LIMIT)?.is_some() {
                return Ok(Some(started.elapsed()));
            }
        }
        Ok(None)
    })?
}

/// Bytes written and read at once.
const BLOCK_LEN: usize = 128 << 10;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Wait for one measured echo.
const PING_LIMIT: Duration = Duration::from_secs(1);

/// Wait for an echo while the mesh is still forming: short, so that the time found is exact.
const PROBE_LIMIT: Duration = Duration::from_millis(5);
