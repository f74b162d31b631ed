//! A TCP connection that must outlive what happens to the mesh under it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::{Lab, overlay};
use crate::wire::{echo_once, noise};

/// Blocks of known bytes that go to the other end and back, one after the other, for as long as the value lives.
pub(crate) struct StreamOfBytes {
    blocks: Arc<AtomicU64>,
    /// Longest time a block took, in milliseconds.
    slowest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl StreamOfBytes {
    /// Connects node `from` to the mesh address of node `to`.
    pub(crate) fn start(lab: &Lab, from: usize, to: usize) -> Self {
        let listener = lab.netns(to).run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))).unwrap().unwrap();
        let connect = || TcpStream::connect((overlay(to), PORT));
        let mut stream = lab.netns(from).run(connect).unwrap().unwrap();
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).unwrap();
        stream.set_write_timeout(limit).unwrap();
        let (blocks, slowest, stop) = (Arc::default(), Arc::default(), Arc::default());
        let (count, worst, stopped) = (Arc::clone(&blocks), Arc::clone(&slowest), Arc::clone(&stop));
        let exchange = move || {
            let sent = noise(7, BLOCK);
            let mut back = vec![0; BLOCK];
            while !AtomicBool::load(&stopped, Relaxed) {
                let start = Instant::now();
                stream.write_all(&sent).unwrap();
                stream.read_exact(&mut back).unwrap();
                assert!(back == sent, "a block came back changed");
                AtomicU64::fetch_add(&count, 1, Relaxed);
                AtomicU64::fetch_max(&worst, u64::try_from(start.elapsed().as_millis()).unwrap(), Relaxed);
            }
        };
        let threads = vec![thread::spawn(move || echo_once(&listener)), thread::spawn(exchange)];
        Self { blocks, slowest, stop, threads }
    }

    /// Blocks that came back so far.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.load(Relaxed)
    }

    /// Longest time a block took so far.
    pub(crate) fn slowest(&self) -> Duration {
        Duration::from_millis(self.slowest.load(Relaxed))
    }

    /// Ends the connection; fails if it broke or a byte was changed.
    pub(crate) fn finish(mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..).rev() {
            thread.join().expect("the connection broke or a byte was changed");
        }
    }
}

const PORT: u16 = 7100;

/// Bytes of a block: more than one segment, little enough to fit every buffer on the way.
const BLOCK: usize = 32 << 10;
