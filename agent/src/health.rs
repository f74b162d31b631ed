//! The answers of `/health` and `/ready`.

use serde::Serialize;
use tunmesh_mesh::Way;

use crate::requests::Report;

/// The original's keys with what stands for its processes here, and more detail under `tunmesh`.
#[derive(Serialize)]
pub(crate) struct Health {
    monitoring: Monitoring,
    registrations: Registrations,
    router: Router,
    tunmesh: Detail,
}

#[derive(Serialize)]
struct Monitoring {
    tun_monitor_worker: bool,
}

#[derive(Serialize)]
struct Registrations {
    registered: bool,
    worker: bool,
}

#[derive(Serialize)]
struct Router {
    read_pipe_thread: bool,
    heartbeat_thread: bool,
    tun: bool,
}

#[derive(Serialize)]
struct Detail {
    version: &'static str,
    members: usize,
    /// Largest packet, in bytes, that every member which is sent datagrams takes in one; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    largest_packet: Option<usize>,
}

impl Health {
    /// Judges a report of the owner and the state of the device.
    ///
    /// Workers are tasks of one process here: if one of them ends, the process does, so an answer at all means that
    /// they run, and only `registered` and `tun` can be false.
    pub(crate) fn of(report: &Report, is_device_up: bool) -> Self {
        Self {
            monitoring: Monitoring { tun_monitor_worker: true },
            registrations: Registrations { registered: report.health.registered, worker: true },
            router: Router { read_pipe_thread: true, heartbeat_thread: true, tun: is_device_up },
            tunmesh: Detail {
                version: env!("CARGO_PKG_VERSION"),
                members: report.members.len(),
                largest_packet: largest_packet(report),
            },
        }
    }

    /// Whether `/health` answers 200.
    pub(crate) fn is_healthy(&self) -> bool {
        self.registrations.registered && self.router.tun
    }
}

fn largest_packet(report: &Report) -> Option<usize> {
    let paths = report.members.iter().filter_map(|member| member.path.as_ref());
    paths.filter(|path| path.way == Way::Udp).map(|path| path.largest).min()
}

/// Whether `/ready` answers 200: packets can be sent to whoever is there. A node that is alone after it has called every
/// place it knows of is as ready as it can be.
pub(crate) fn is_ready(report: &Report, is_device_up: bool) -> bool {
    report.health.settled && is_device_up
}
