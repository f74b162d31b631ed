//! Packet threads.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;

use super::notice::Notices;
use super::receive::Receiver;
use super::transmit::Transmitter;
use super::{Device, Socket};
use crate::shared::Shared;

/// Starts one packet thread per queue of the device; the first error of any is reported to `failed` and ends it.
pub(crate) fn start(
    shared: &Arc<Shared>,
    device: &Arc<Device>,
    sockets: &[Arc<Socket>],
    notices: &Notices,
    failed: &mpsc::Sender<io::Error>,
) -> io::Result<()> {
    for queue in 0..device.queue_count() {
        let (device, failed, socket) = (Arc::clone(device), failed.clone(), sockets.get(queue).cloned());
        let receiver = socket.as_ref().map(|socket| Receiver::new(Arc::clone(socket), queue, device.offloads().udp));
        let transmitter =
            Transmitter::new(Arc::clone(shared), Arc::clone(&device), notices.clone(), queue, socket.clone());
        let work = move || {
            let error = run(transmitter, receiver, &device, queue, socket.as_deref());
            let _stopping = failed.blocking_send(error);
        };
        std::thread::Builder::new().name(format!("packets-{queue}")).stack_size(STACK_LEN).spawn(work)?;
    }
    Ok(())
}

/// Moves packets until the device or the socket fails.
fn run(
    mut transmitter: Transmitter,
    mut receiver: Option<Receiver>,
    device: &Device,
    queue: usize,
    socket: Option<&Socket>,
) -> io::Error {
    let shared = Arc::clone(&transmitter.shared);
    loop {
        let mut turn = || -> io::Result<bool> {
            let now = Instant::now();
            let forwarding = shared.forwarding.borrow().clone();
            let mut busy = false;
            if let Some(receiver) = &mut receiver {
                busy = receiver.turn(&mut transmitter, &forwarding, &shared.sessions.load(), now)?;
            }
            Ok(transmitter.turn(&forwarding, now)? || busy)
        };
        match turn() {
            Ok(true) => {}
            Ok(false) => {
                if let Err(error) = wait(device, queue, socket) {
                    return error;
                }
            }
            Err(error) => return error,
        }
    }
}

/// Waits until the device or the socket has something to read.
fn wait(device: &Device, queue: usize, socket: Option<&Socket>) -> io::Result<()> {
    let device = PollFd::new(device.queue(queue).as_fd(), PollFlags::POLLIN);
    let polled = match socket {
        Some(socket) => poll(&mut [device, PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE),
        None => poll(&mut [device], PollTimeout::NONE),
    };
    match polled {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Stack of a packet thread, in bytes.
const STACK_LEN: usize = 256 << 10;
