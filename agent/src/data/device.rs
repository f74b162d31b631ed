use std::io::{self, IoSlice};

use tunmesh_packet::Offload;
use tunmesh_sys::tun::{Offloads, Queue, Tun};

/// The TUN device, shared by all that read or write packets.
pub(crate) struct Device(Tun);

impl Device {
    pub(crate) fn new(tun: Tun) -> Self {
        Self(tun)
    }

    /// Writes one complete packet; the kernel takes it whole or not at all, and never blocks.
    pub(crate) fn write(&self, packet: &[u8]) -> io::Result<()> {
        if !self.offloads().header {
            return self.0.write(packet).map(|_| ());
        }
        let header = Offload::default().encode();
        self.queue(0).write_vectored(&[IoSlice::new(&header), IoSlice::new(packet)]).map(|_| ())
    }

    /// The queue of one packet thread.
    pub(crate) fn queue(&self, index: usize) -> &Queue {
        &self.0.queues()[index]
    }

    /// Number of queues, at least 1.
    pub(crate) fn queue_count(&self) -> usize {
        self.0.queues().len()
    }

    /// What is left undone between the kernel and us.
    pub(crate) fn offloads(&self) -> Offloads {
        self.0.offloads()
    }

    /// Interface name.
    pub(crate) fn name(&self) -> &str {
        self.0.name()
    }

    /// Whether the interface is up.
    pub(crate) fn is_up(&self) -> bool {
        self.0.is_up()
    }

    /// Largest packet, in bytes.
    pub(crate) fn mtu(&self) -> u32 {
        self.0.mtu()
    }
}
