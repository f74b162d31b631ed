//! The link as it runs: two devices, and a thread for each direction between them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::pipe2;
use tunmesh_sys::netns::{Netns, NetnsError};
use tunmesh_sys::tun::{Features, Queue, Tun, TunError, TunSettings, VNET_HEADER_LEN, create_with};

use crate::{Counters, Fate, Impairments, LinkQueue};

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Namespace its device is made in.
    pub netns: &'a Netns,
    /// Name of the device, 1 to 15 bytes.
    pub name: &'a str,
    /// Addresses of the device with the prefix of their subnets, at least one of IPv4.
    pub addresses: &'a [IpNet],
    /// Largest packet in bytes, 68 to 65535.
    pub mtu: u32,
    /// Packets that may wait to be read before the kernel drops further ones.
    pub queue_len: u32,
}

/// A link that runs until it is dropped; its devices go with it.
#[derive(Debug)]
pub struct Link {
    devices: Arc<[Tun; 2]>,
    /// What leaves the first end, and what leaves the second.
    queues: [Arc<Mutex<LinkQueue>>; 2],
    threads: [Option<JoinHandle<io::Result<()>>>; 2],
    /// Closed to end the threads.
    stop: Option<OwnedFd>,
}

/// Why there is no link, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A device was not made.
    #[error("failed to make device {name}")]
    Device {
        /// Name asked for.
        name: String,
        /// Why.
        source: TunError,
    },
    /// A direction ended.
    #[error("the link from device {name} ended")]
    Ended {
        /// Device of the end it came from.
        name: String,
    },
    /// An end has no IPv4 address.
    #[error("device {name} needs an IPv4 address")]
    NoAddress {
        /// Name of the device.
        name: String,
    },
    /// A namespace was not entered.
    #[error("failed to enter the namespace of device {name}")]
    Namespace {
        /// Name of the device.
        name: String,
        /// Why.
        source: NetnsError,
    },
    /// The kernel refused to switch the offload of a device.
    #[error("failed to switch segmentation offload of device {name}")]
    Offload {
        /// Name of the device.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No thread, or no pipe to end it with.
    #[error("failed to start a thread")]
    Thread(#[source] io::Error),
}

impl Link {
    /// Makes both devices and starts to carry packets between them. What chance decides depends on `seed` only.
    pub fn start(ends: [End<'_>; 2], impairments: Impairments, seed: u64) -> Result<Self, LinkError> {
        let [first, second] = ends;
        let devices = Arc::new([device(&first)?, device(&second)?]);
        let header_len = if devices[0].offloads().header { VNET_HEADER_LEN } else { 0 };
        let queues = [0, 1].map(|way| Arc::new(Mutex::new(LinkQueue::new(header_len, seed.wrapping_add(way)))));
        // Closed on exec: a program started meanwhile would keep the link running.
        let (stopped, stop) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| LinkError::Thread(errno.into()))?;
        let stopped = Arc::new(stopped);
        let mut link = Self { devices, queues, threads: [None, None], stop: Some(stop) };
        link.set(impairments)?;
        for way in 0..2 {
            let (devices, queue) = (Arc::clone(&link.devices), Arc::clone(&link.queues[way]));
            let stopped = Arc::clone(&stopped);
            let work = move || {
                let [from, to] = [&devices[way], &devices[1 - way]].map(|device| &device.queues()[0]);
                carry(from, to, &queue, stopped.as_fd())
            };
            let started = thread::Builder::new().name(format!("link-{way}")).spawn(work);
            link.threads[way] = Some(started.map_err(LinkError::Thread)?);
        }
        Ok(link)
    }

    /// Treats later packets so, in both directions; those under way keep their time.
    ///
    /// What strikes single packets has the kernel cut super packets before they are read. A super packet that waited to
    /// be read at this moment still counts as one.
    pub fn set(&self, impairments: Impairments) -> Result<(), LinkError> {
        for device in &*self.devices {
            let switched = device.set_offload(!impairments.is_per_packet());
            switched.map_err(|source| LinkError::Offload { name: device.name().to_owned(), source })?;
        }
        for queue in &self.queues {
            lock(queue).set(impairments);
        }
        Ok(())
    }

    /// What became of the packets that left the first end, and of those that left the second.
    ///
    /// Errors: a direction has ended, because a device was deleted.
    pub fn counters(&self) -> Result<[Counters; 2], LinkError> {
        for (device, thread) in self.devices.iter().zip(&self.threads) {
            if thread.as_ref().is_some_and(JoinHandle::is_finished) {
                return Err(LinkError::Ended { name: device.name().to_owned() });
            }
        }
        Ok([0, 1].map(|way: usize| lock(&self.queues[way]).counters()))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.take();
        for thread in self.threads.iter_mut().filter_map(Option::take) {
            // What it ended with changes nothing any more.
            let _ended = thread.join();
        }
    }
}

fn device(end: &End<'_>) -> Result<Tun, LinkError> {
    let name = end.name.to_owned();
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for address in end.addresses {
        match *address {
            IpNet::V4(address) => ipv4.push(address),
            IpNet::V6(address) => ipv6.push(address),
        }
    }
    let [address, extra_addresses @ ..] = ipv4.as_slice() else { return Err(LinkError::NoAddress { name }) };
    let settings = TunSettings {
        name: end.name,
        address: *address,
        network: address.trunc(),
        extra_addresses,
        routes: &[],
        mtu: end.mtu,
        queue_len: end.queue_len,
    };
    let features = Features { queues: 1, offload: true, ipv6_addresses: &ipv6, ..Features::default() };
    match end.netns.run(|| create_with(&settings, &features)) {
        Ok(made) => made.map_err(|source| LinkError::Device { name, source }),
        Err(source) => Err(LinkError::Namespace { name, source }),
    }
}

/// Carries packets one way until `stopped` is closed at its other end, or a device is gone.
fn carry(from: &Queue, to: &Queue, queue: &Mutex<LinkQueue>, stopped: BorrowedFd<'_>) -> io::Result<()> {
    let mut frame = vec![0; VNET_HEADER_LEN + MAX_PACKET];
    loop {
        let due = deliver(to, &mut lock(queue))?;
        let mut waited = [PollFd::new(from.as_fd(), PollFlags::POLLIN), PollFd::new(stopped, PollFlags::POLLIN)];
        let timeout = due.map(|due| TimeSpec::from(due.saturating_duration_since(Instant::now())));
        match ppoll(&mut waited, timeout, None) {
            Err(Errno::EINTR) => {}
            polled => drop(polled?),
        }
        if waited[1].any() == Some(true) {
            return Ok(());
        }
        if waited[0].any() == Some(true) {
            take(from, to, &mut lock(queue), &mut frame)?;
        }
    }
}

/// Writes what is due, and returns when the next frame is.
fn deliver(to: &Queue, queue: &mut LinkQueue) -> io::Result<Option<Instant>> {
    let now = Instant::now();
    while let Some(frame) = queue.poll_frame(now) {
        write(to, queue, &frame)?;
    }
    Ok(queue.poll_timeout())
}

fn take(from: &Queue, to: &Queue, queue: &mut LinkQueue, frame: &mut [u8]) -> io::Result<()> {
    for _ in 0..READS_PER_WAIT {
        let len = match from.read(frame) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            read => read?,
        };
        if queue.handle_frame(&frame[..len], Instant::now()) == Fate::Forward {
            write(to, queue, &frame[..len])?;
        }
    }
    Ok(())
}

/// Only a device that is gone is an error; whatever else the kernel does not take is lost, as on any link.
fn write(to: &Queue, queue: &mut LinkQueue, frame: &[u8]) -> io::Result<()> {
    match to.write(frame) {
        Err(error) if error.raw_os_error() == Some(Errno::EBADFD as i32) => return Err(error),
        Err(_) => queue.handle_refusal(),
        Ok(_) => {}
    }
    Ok(())
}

fn lock(queue: &Mutex<LinkQueue>) -> MutexGuard<'_, LinkQueue> {
    // A queue is whole between any two of its calls.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longest IP packet.
const MAX_PACKET: usize = 65_535;

/// Packets read before those that are due are written.
const READS_PER_WAIT: usize = 64;
