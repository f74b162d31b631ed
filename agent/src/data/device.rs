use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tunmesh_packet::Offload;
use tunmesh_sys::tun::{Offloads, Queue, Tun};

/// The TUN device, shared by all that read or write packets.
pub(crate) struct Device {
    tun: Tun,
    mtu: AtomicU32,
}

impl Device {
    pub(crate) fn new(tun: Tun) -> Self {
        Self { mtu: AtomicU32::new(tun.mtu()), tun }
    }

    /// Writes one complete packet; the kernel takes it whole or not at all, and never blocks.
    pub(crate) fn write(&self, packet: &[u8]) -> io::Result<()> {
        if !self.offloads().header {
            return self.tun.write(packet).map(|_| ());
        }
        let header = Offload::default().encode();
        self.queue(0).write_vectored(&[IoSlice::new(&header), IoSlice::new(packet)]).map(|_| ())
    }

    /// The queue of one packet thread.
    pub(crate) fn queue(&self, index: usize) -> &Queue {
        &self.tun.queues()[index]
    }

    /// Number of queues, at least 1.
    pub(crate) fn queue_count(&self) -> usize {
        self.tun.queues().len()
    }

    /// What is left undone between the kernel and us.
    pub(crate) fn offloads(&self) -> Offloads {
        self.tun.offloads()
    }

    /// Interface name.
    pub(crate) fn name(&self) -> &str {
        self.tun.name()
    }

    /// Whether the interface is up.
    pub(crate) fn is_up(&self) -> bool {
        self.tun.is_up()
    }

    /// Largest packet, in bytes.
    pub(crate) fn mtu(&self) -> u32 {
        self.mtu.load(Relaxed)
    }

    /// Takes note that whoever made the device gave it another MTU; whether that is news.
    pub(crate) fn note_mtu(&self, mtu: u32) -> bool {
        self.mtu.swap(mtu, Relaxed) != mtu
    }
}
