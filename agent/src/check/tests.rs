use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::facts::{Certificate, Facts, HostRoute, Probe, Uplink};
use super::{CHECKS, Level, findings};
use crate::incidents::RefusalKind;
use crate::settings;
use crate::status::{ContestStatus, DatagramStatus, Flow, OffloadStatus, PeerStatus, RefusalStatus, Status};

#[test]
fn nothing_is_found_in_a_healthy_mesh() {
    assert_eq!(findings(&healthy()), []);
}

#[test]
fn every_code_is_found_for_each_of_its_facts_and_no_other_code_with_it() {
    let cases: &[(&str, Level, &str, Change)] = &[
        ("TM0001", Level::Error, "config.yaml line 12: tun_mesh/process/uid is \"nobody\"", |facts| {
            facts.config = settings::parse(&file(), &TEXT.replace("65532", "nobody")).map(|parsed| parsed.config);
        }),
        ("TM0001", Level::Error, "/nowhere", |facts| {
            facts.config = settings::read(Path::new("/nowhere")).map(|parsed| parsed.config)
        }),
        ("TM0001", Level::Error, "no certificate", |facts| facts.tls_error = Some("no certificate in cert.pem".into())),
        ("TM0002", Level::Error, "cert.pem", |facts| facts.certificates[0].not_after = NOW - 1),
        ("TM0002", Level::Error, "cert.pem", |facts| facts.certificates[0].not_before = NOW + 1),
        ("TM0002", Level::Warning, "ca.pem", |facts| facts.certificates[1].not_after = NOW + 29 * 86_400),
        ("TM0003", Level::Error, "is not valid for 10.77.0.1", |facts| {
            change(facts, "key_file_path: key.pem", "key_file_path: key.pem, verify_hostname: true");
            facts.certificates[0].names_host = false;
        }),
        ("TM0003", Level::Error, "192.168.129.10", |facts| {
            change(facts, "secret:", "address_certificates: true, secret:");
            facts.certificates[0].addresses.retain(IpAddr::is_ipv6);
        }),
        ("TM0004", Level::Error, "no node", |facts| facts.node = Err("no node with device tun1 answers".into())),
        ("TM0005", Level::Warning, "6 s ahead", |facts| {
            change(facts, "uid: 65532", "uid: 65532\n    timing: {auth: {early_validity_window: 10}}");
            peer(facts).clock_offset_secs = Some(6);
        }),
        ("TM0005", Level::Error, "6 s behind", |facts| peer(facts).clock_offset_secs = Some(-6)),
        ("TM0005", Level::Error, "gossip refused", |facts| refused(facts, RefusalKind::GossipClock, 1.0)),
        ("TM0005", Level::Error, "requests refused", |facts| refused(facts, RefusalKind::RequestClock, 1.0)),
        ("TM0006", Level::Warning, "10.77.0.2:4567", |facts| peer(facts).path = "v0".into()),
        ("TM0006", Level::Warning, "\"stream\"", |facts| peer(facts).path = "stream".into()),
        ("TM0006", Level::Error, "no other way", |facts| {
            peer(facts).path = "none".into();
            facts.tried.insert("other".into(), true);
        }),
        ("TM0006", Level::Error, "all the same", |facts| {
            facts.tried.insert("other".into(), false);
        }),
        ("TM0007", Level::Warning, "up to 1419 bytes", |facts| peer(facts).largest_packet = 1419),
        ("TM0008", Level::Error, "192.168.129.20 is held by a and claimed by b", |facts| contested(facts, 149.0)),
        ("TM0009", Level::Error, "192.168.129.64/26 through eth0", |facts| route(facts, "eth0", "192.168.129.64/26")),
        ("TM0009", Level::Error, "192.168.129.0/24 through eth0", |facts| route(facts, "eth0", "192.168.129.0/24")),
        ("TM0009", Level::Warning, "192.168.0.0/16 through eth0", |facts| route(facts, "eth0", "192.168.0.0/16")),
        ("TM0009", Level::Error, "fd00::/80 through eth0", |facts| {
            change(facts, "networking:", "networking:\n    ipv6: {network_cidr: \"fd00::/64\"}");
            route(facts, "eth0", "fd00::/80");
        }),
        ("TM0010", Level::Note, "virtio", |facts| {
            status(facts).offloads = OffloadStatus { header: false, tcp: false, udp: false };
        }),
        ("TM0010", Level::Note, "TCP", |facts| status(facts).offloads.tcp = false),
        ("TM0010", Level::Note, "UDP", |facts| status(facts).offloads.udp = false),
        ("TM0010", Level::Note, "sent one by one", |facts| udp(facts).segments_sent = 1),
        ("TM0010", Level::Note, "received one by one", |facts| udp(facts).segments_received = 1),
        ("TM0011", Level::Error, "sealed", |facts| refused(facts, RefusalKind::GossipSecret, 1.0)),
        ("TM0011", Level::Error, "signed", |facts| refused(facts, RefusalKind::RequestSecret, 149.0)),
        ("TM0011", Level::Error, "401", |facts| refused(facts, RefusalKind::WeAreDenied, 1.0)),
        ("TM0012", Level::Note, "runs 9.9.9", |facts| peer(facts).version = Some("9.9.9".into())),
        ("TM0012", Level::Note, "v0 protocol only", |facts| {
            peer(facts).version = None;
            peer(facts).pipelining = false;
        }),
        ("TM0013", Level::Error, "can be reached", |facts| status(facts).peers.clear()),
        ("TM0013", Level::Error, "connection refused", |facts| {
            status(facts).peers.clear();
            facts.bootstrap[0].error = Some("connection refused".into());
        }),
        ("TM0013", Level::Warning, "names no other node", |facts| {
            status(facts).peers.clear();
            facts.bootstrap.clear();
        }),
        ("TM0014", Level::Warning, "a packet of 1420 needs 1480", |facts| facts.uplinks[0].mtu = 1479),
        ("TM0014", Level::Warning, "a packet of 1420 needs 1500", |facts| {
            facts.uplinks[0] = Uplink { target: "fd00::2".parse().unwrap(), device: "eth0".into(), mtu: 1499 };
        }),
    ];
    for (code, level, part, change) in cases {
        let mut facts = healthy();
        change(&mut facts);

        let found = findings(&facts);

        let codes: Vec<_> = found.iter().map(|finding| (finding.code, finding.level)).collect();
        assert_eq!(codes, [(*code, *level)], "{part}: {found:#?}");
        assert!(found[0].found.contains(part), "{part:?} is not in {:?}", found[0].found);
        assert!(!found[0].cause.is_empty() && !found[0].fix.is_empty());
    }
    let covered: BTreeSet<_> = cases.iter().map(|(code, ..)| *code).collect();
    assert_eq!(covered, CHECKS.iter().map(|check| check.code).collect());
}

#[test]
fn what_is_close_to_a_finding_is_none() {
    let cases: &[(&str, Change)] = &[
        ("a certificate with 30 days left", |facts| facts.certificates[0].not_after = NOW + 30 * 86_400),
        ("a name that nobody compares", |facts| facts.certificates[0].names_host = false),
        ("a mesh address that nobody compares", |facts| facts.certificates[0].addresses.clear()),
        ("a clock that is 5 s off", |facts| peer(facts).clock_offset_secs = Some(5)),
        ("a clock that is not known", |facts| peer(facts).clock_offset_secs = None),
        ("a peer without datagrams on v0", |facts| {
            peer(facts).path = "v0".into();
            peer(facts).takes_datagrams = false;
        }),
        ("a peer that answers pings", |facts| {
            facts.tried.insert("other".into(), true);
        }),
        ("a peer nothing was sent to", |facts| peer(facts).path = "none".into()),
        ("a small packet size found on a path that is not in use", |facts| {
            peer(facts).path = "none".into();
            peer(facts).largest_packet = 1280;
        }),
        ("an uplink with just enough room", |facts| facts.uplinks[0].mtu = 1480),
        ("an uplink with just enough room for IPv6", |facts| {
            facts.uplinks[0].target = "fd00::2".parse().unwrap();
        }),
        ("a claim of long ago", |facts| contested(facts, 151.0)),
        ("the routes of our own device", |facts| route(facts, "tun1", "192.168.129.0/24")),
        ("a default route", |facts| route(facts, "eth0", "0.0.0.0/0")),
        ("a neighbouring network", |facts| route(facts, "eth0", "192.168.128.0/24")),
        ("a refusal of long ago", |facts| refused(facts, RefusalKind::GossipSecret, 151.0)),
        ("a peer of our kind without datagrams", |facts| peer(facts).version = None),
        ("an unreachable bootstrap URL beside a member", |facts| facts.bootstrap[0].error = Some("timed out".into())),
        ("a small network where no datagrams are used", |facts| {
            change(facts, "networking:", "networking:\n    data_plane: {paths: [v0]}");
            facts.uplinks[0].mtu = 1280;
        }),
    ];
    for (case, change) in cases {
        let mut facts = healthy();
        change(&mut facts);

        assert_eq!(findings(&facts), [], "{case}");
    }
}

#[test]
fn without_a_node_unreachable_bootstrap_urls_are_named_and_reachable_ones_are_not() {
    let codes = |facts: &Facts| findings(facts).iter().map(|finding| finding.code).collect::<Vec<_>>();
    let mut facts = healthy();
    facts.node = Err("no node".into());
    assert_eq!(codes(&facts), ["TM0004"]);

    facts.bootstrap[0].error = Some("timed out".into());
    assert_eq!(codes(&facts), ["TM0004", "TM0013"]);
}

#[test]
fn without_a_file_the_network_is_that_of_the_node() {
    let mut facts = healthy();
    facts.config = settings::read(Path::new("/nowhere")).map(|parsed| parsed.config);
    route(&mut facts, "eth0", "192.168.129.64/26");

    let codes: Vec<_> = findings(&facts).iter().map(|finding| finding.code).collect();

    assert_eq!(codes, ["TM0001", "TM0009"]);
}

#[test]
fn codes_ascend_and_the_documentation_has_a_section_for_each() {
    assert!(CHECKS.is_sorted_by(|a, b| a.code < b.code));
    let path = [env!("CARGO_MANIFEST_DIR"), "..", "docs", "diagnosis.md"].iter().collect::<PathBuf>();
    let text = std::fs::read_to_string(path).unwrap();
    let sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## TM")).collect();
    let expected: Vec<_> =
        CHECKS.iter().map(|check| format!("{}: {}", check.code.trim_start_matches("TM"), check.title)).collect();

    assert_eq!(sections, expected);
}

type Change = fn(&mut Facts);

/// A node with one peer and all as it should be.
fn healthy() -> Facts {
    let config = settings::parse(&file(), TEXT).unwrap().config;
    let certificate = |name: &str| Certificate {
        path: name.into(),
        subject: "CN=tunmesh.local".into(),
        not_before: NOW - 86_400,
        not_after: NOW + 365 * 86_400,
        names_host: true,
        addresses: settings::addresses(&config.networking),
    };
    Facts {
        now: NOW,
        tls_error: None,
        certificates: vec![certificate("cert.pem"), certificate("ca.pem")],
        config: Ok(config),
        node: Ok(running()),
        tried: BTreeMap::new(),
        bootstrap: vec![Probe { url: "https://10.77.0.2:4567".parse().unwrap(), error: None }],
        routes: vec![HostRoute { device: "eth0".into(), destination: "10.77.0.0/24".parse().unwrap() }],
        uplinks: vec![Uplink { target: [10, 77, 0, 2].into(), device: "eth0".into(), mtu: 1500 }],
    }
}

fn running() -> Status {
    let flow = Flow { packets: 7, bytes: 700 };
    Status {
        node_id: "own".into(),
        version: "0.1.0".into(),
        uptime_secs: 60,
        device: "tun1".into(),
        mtu: 1420,
        address: "192.168.129.10/26".into(),
        network: "192.168.129.0/24".into(),
        address_ipv6: None,
        listen_url: "https://10.77.0.1:4567".into(),
        healthy: true,
        ready: true,
        resident_bytes: 0,
        packet_threads: 2,
        offloads: OffloadStatus { header: true, tcp: true, udp: true },
        datagrams: Some(DatagramStatus {
            port: 4567,
            endpoints: vec!["10.77.0.1:4567".into()],
            segments_sent: 64,
            segments_received: 64,
        }),
        gossip: None,
        tun_rx: flow,
        tun_tx: flow,
        drops: BTreeMap::new(),
        refusals: Vec::new(),
        contests: Vec::new(),
        peers: vec![PeerStatus {
            node_id: "other".into(),
            address: "192.168.129.20/26".into(),
            listen_url: "https://10.77.0.2:4567".into(),
            path: "udp".into(),
            takes_datagrams: true,
            suite: Some("aegis".into()),
            handshake_secs: Some(1.0),
            round_trip_micros: Some(500),
            pings: 2,
            pongs: 2,
            loss_percent: Some(0.0),
            largest_packet: 1420,
            endpoint: Some("10.77.0.2:4567".into()),
            gossip: Some("alive".into()),
            version: Some("0.1.0".into()),
            clock_offset_secs: Some(0),
            near: true,
            last_seen_secs: 0.1,
            session_secs: None,
            faults: 0,
            queued_packets: 0,
            answer_micros: None,
            pipelining: true,
            rx: flow,
            tx: flow,
            drops: BTreeMap::new(),
        }],
        devices: Vec::new(),
    }
}

fn status(facts: &mut Facts) -> &mut Status {
    facts.node.as_mut().unwrap()
}

fn peer(facts: &mut Facts) -> &mut PeerStatus {
    &mut status(facts).peers[0]
}

fn udp(facts: &mut Facts) -> &mut DatagramStatus {
    status(facts).datagrams.as_mut().unwrap()
}

fn route(facts: &mut Facts, device: &str, destination: &str) {
    facts.routes.push(HostRoute { device: device.into(), destination: destination.parse().unwrap() });
}

fn refused(facts: &mut Facts, kind: RefusalKind, last_secs: f64) {
    status(facts).refusals.push(RefusalStatus { kind, count: 3, last_secs, subject: "10.77.0.3:4567".into() });
}

fn contested(facts: &mut Facts, last_secs: f64) {
    let (address, holder, claimant) = ("192.168.129.20".into(), "a".into(), "b".into());
    status(facts).contests.push(ContestStatus { address, holder, claimant, last_secs });
}

/// Edits the text of the file.
fn change(facts: &mut Facts, from: &str, to: &str) {
    assert!(TEXT.contains(from), "{from:?} is not in the file");
    facts.config = Ok(settings::parse(&file(), &TEXT.replacen(from, to, 1)).unwrap().config);
}

/// Beside the certificates of the recorded set-up, which the text names.
fn file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "protocol/tests/vectors/tunmesh-v0/tls/config.yaml"].iter().collect()
}

const NOW: i64 = 1_800_000_000;

const TEXT: &str = "tun_mesh:
  config_version: 1.1
  clustering:
    bootstrap_groups: {default: {bootstrap_node_urls: [\"https://10.77.0.2:4567\"]}}
    control_api_advertise_url: https://10.77.0.1:4567
    auth: {secret: bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha}
  control_api:
    ssl: {ca_file_path: ca.pem, cert_file_path: cert.pem, key_file_path: key.pem}
  networking:
    ipv4: {network_cidr: 192.168.129.0/24, node_address_cidr: 192.168.129.10/26}
  process:
    uid: 65532
";
