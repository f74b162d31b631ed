//! Sockets inside the namespaces.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tunmesh_sys::netns::Netns;

use crate::support::Lab;

/// A UDP socket in the namespace of node `number`, bound to `port` at every address; reads wait ten seconds.
pub(crate) fn udp(lab: &Lab, number: usize, port: u16) -> UdpSocket {
    let socket = lab.netns(number).run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap().unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// A raw socket for one protocol in the namespace of node `number`; what it reads begins with the IP header.
pub(crate) fn raw(lab: &Lab, number: usize, protocol: i32) -> Socket {
    let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)));
    let socket = lab.netns(number).run(open).unwrap().unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// Address and port for socket2.
pub(crate) fn at(address: Ipv4Addr, port: u16) -> socket2::SockAddr {
    SocketAddrV4::new(address, port).into()
}

/// Bytes that differ from place to place and from `seed` to `seed`.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Sends back everything that arrives on one TCP connection.
pub(crate) fn echo_once(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut writer = stream.try_clone().unwrap();
    std::io::copy(&mut stream, &mut writer).unwrap();
}

/// Sends so many bytes from node `from` to an echo there, and fails unless the very same come back.
pub(crate) fn echoed(lab: &Lab, from: usize, to: (Ipv4Addr, u16), seed: u64, len: usize) {
    let mut writer = lab.netns(from).run(|| TcpStream::connect(to)).unwrap().unwrap();
    let mut reader = writer.try_clone().unwrap();
    let sent = noise(seed, len);
    let back = thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut back = Vec::new();
            reader.read_to_end(&mut back).unwrap();
            back
        });
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
        reading.join().unwrap()
    });
    assert_eq!(back.len(), sent.len());
    assert!(back == sent, "the bytes came back changed");
}

/// A load balancer in front of several nodes: forwards each new connection on port 4567 to the next of `targets`.
pub(crate) struct Balancer {
    forwarded: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    /// Starts one in the namespace of node `number`.
    pub(crate) fn start(lab: &Lab, number: usize, targets: Vec<SocketAddr>) -> Self {
        let netns = lab.netns(number).run(Netns::current).unwrap().unwrap();
        let listener = netns.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 4567))).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (forwarded, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (Arc::clone(&forwarded), Arc::clone(&stop));
        // Threads inherit the namespace of the one that starts them, so all connections leave from there.
        let serve = move || netns.run(|| forward(&listener, &targets, &count, &stopped)).unwrap();
        Self { forwarded, stop, thread: Some(thread::spawn(serve)) }
    }

    /// Connections forwarded so far.
    pub(crate) fn forwarded(&self) -> usize {
        self.forwarded.load(Relaxed)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn forward(listener: &TcpListener, targets: &[SocketAddr], count: &AtomicUsize, stopped: &AtomicBool) {
    while !stopped.load(Relaxed) {
        match listener.accept() {
            Ok((client, _)) => {
                let turn = count.fetch_add(1, Relaxed);
                let target = targets[turn % targets.len()];
                thread::spawn(move || {
                    // A target that is not up yet refuses; the client sees its connection closed.
                    if let Ok(server) = TcpStream::connect_timeout(&target, LIMIT) {
                        client.set_nonblocking(false).unwrap();
                        let pair = (client.try_clone().unwrap(), server.try_clone().unwrap());
                        thread::spawn(move || pass(pair.0, pair.1));
                        pass(server, client);
                    }
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut block = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut block) {
        if to.write_all(&block[..len]).is_err() {
            break;
        }
    }
    let _gone = to.shutdown(std::net::Shutdown::Write);
}

/// Wait for what takes a millisecond on an idle machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
