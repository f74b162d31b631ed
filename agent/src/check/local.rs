//! Checks of this node alone: its file, its certificates, its process, its kernel.

use super::facts::{Certificate, Facts};
use super::{Found, Level};
use crate::settings;
use crate::settings::ReadConfigError;

/// TM0001.
pub(super) fn configuration(facts: &Facts) -> Vec<Found> {
    match &facts.config {
        Ok(_) => facts
            .tls_error
            .iter()
            .map(|error| {
                let cause =
                    "a certificate or key file of control_api/ssl is missing, unreadable, or does not fit the other";
                Found::new(Level::Error, error, cause, "give the files that belong together, readable by process/uid")
            })
            .collect(),
        Err(ReadConfigError::Invalid { path, problems }) => problems
            .0
            .iter()
            .map(|problem| {
                let place = if problem.path.is_empty() { "the file" } else { &problem.path };
                let line = problem.line.map(|line| format!(" line {line}")).unwrap_or_default();
                let value = problem.value.as_ref().map(|value| format!(" is {value:?}")).unwrap_or_default();
                let found = format!("{}{line}: {place}{value}", path.display());
                Found::new(Level::Error, found, &problem.reason, &problem.fix)
            })
            .collect(),
        Err(ReadConfigError::Read { path, source }) => {
            let fix = "name the file with --config, and run this as a user that may read it";
            vec![Found::new(Level::Error, path.display().to_string(), source.to_string(), fix)]
        }
    }
}

/// TM0002.
pub(super) fn validity(facts: &Facts) -> Vec<Found> {
    let fix = "replace the file; a running node takes a new certificate without a restart";
    let judge = |certificate: &Certificate| {
        let found = format!("{} ({})", certificate.path.display(), certificate.subject);
        let left = certificate.not_after - facts.now;
        if facts.now < certificate.not_before {
            let cause = format!(
                "it becomes valid in {}, or the clock of this host is slow",
                days(certificate.not_before - facts.now)
            );
            Some(Found::new(Level::Error, found, cause, "set the clock, or replace the certificate"))
        } else if left < 0 {
            Some(Found::new(Level::Error, found, format!("it expired {} ago", days(-left)), fix))
        } else if left < SOON_SECS {
            Some(Found::new(Level::Warning, found, format!("it expires in {}", days(left)), fix))
        } else {
            None
        }
    };
    facts.certificates.iter().filter_map(judge).collect()
}

/// TM0003.
pub(super) fn names(facts: &Facts) -> Vec<Found> {
    let (Ok(config), Some(own)) = (&facts.config, facts.certificates.first()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let path = own.path.display();
    if config.control_api.ssl.verify_hostname && !own.names_host {
        let host = config.clustering.control_api_advertise_url.host();
        found.push(Found::new(
            Level::Error,
            format!("{path} is not valid for {host}"),
            "verify_hostname is set, so nodes refuse a certificate that does not name the host of control_api_advertise_url",
            format!("make a certificate with the subject alternative name {host}, or advertise a URL that it names"),
        ));
    }
    if config.clustering.auth.address_certificates {
        let wanted = settings::addresses(&config.networking);
        for address in wanted.iter().filter(|address| !own.addresses.contains(address)) {
            found.push(Found::new(
                Level::Error,
                format!("{path} does not name the mesh address {address}"),
                "address_certificates is set, so nodes refuse a member whose certificate does not name its mesh addresses",
                format!("make a certificate with the IP subject alternative name {address}"),
            ));
        }
    }
    found
}

/// TM0004.
pub(super) fn node(facts: &Facts) -> Vec<Found> {
    let Err(error) = &facts.node else {
        return Vec::new();
    };
    let cause = "no agent with this device runs in this network namespace, or it is of another version";
    let fix = "start it (tunmesh run), name its device with --device, or enter its namespace (nsenter -n -t PID); \
               checks that need a running node were left out";
    vec![Found::new(Level::Error, error, cause, fix)]
}

/// TM0010.
pub(super) fn offloads(facts: &Facts) -> Vec<Found> {
    let Some(status) = facts.status() else {
        return Vec::new();
    };
    let (device, socket) = (status.offloads, status.datagrams.as_ref());
    let one_by_one = |segments: usize| segments <= 1;
    let missing = [
        (
            !device.header,
            "the device passes no virtio header",
            "a device made by the agent (not handed over), and Linux",
        ),
        (device.header && !device.tcp, "the device does not pass TCP in runs", "Linux with TUN segmentation offload"),
        (device.header && !device.udp, "the device does not pass UDP in runs", "Linux 6.2 or newer"),
        (
            socket.is_some_and(|udp| one_by_one(udp.segments_sent)),
            "datagrams are sent one by one",
            "Linux 4.18 or newer",
        ),
        (
            socket.is_some_and(|udp| one_by_one(udp.segments_received)),
            "datagrams are received one by one",
            "Linux 5.0 or newer",
        ),
    ];
    missing
        .into_iter()
        .filter(|(is_missing, ..)| *is_missing)
        .map(|(_, what, needs)| {
            let found = format!("{}: {what}", status.device);
            Found::new(
                Level::Note,
                found,
                "everything works, with more system calls per packet",
                format!("use {needs}"),
            )
        })
        .collect()
}

fn days(secs: i64) -> String {
    if secs < 2 * DAY_SECS { format!("{} h", secs / 3600) } else { format!("{} days", secs / DAY_SECS) }
}

const DAY_SECS: i64 = 86_400;

/// Time before the end of a certificate in which it should be replaced.
const SOON_SECS: i64 = 30 * DAY_SECS;
