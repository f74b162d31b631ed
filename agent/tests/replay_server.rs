//! The recorded requests to a server of the original, made to our agent: taken where the original takes them, refused
//! where it refuses, and better where docs/compatibility.md says so.
#![expect(clippy::unwrap_in_result, clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

mod replay;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Mutex;

use replay::differences::SERVER;
use replay::outcome;
use replay::recording::{Case, Request, Row, Secrets, index};
use replay::run::{Manner, Role, Run};
use replay::stage::play;
use replay::wire::{Message, Underlay, client_tls};
use rustls::version::TLS13;
use support::{Lab, SLOW, wait_for};

#[test]
fn every_recorded_request_is_answered_as_by_the_original_or_as_documented() {
    let rows = index();
    let secrets = Secrets::read();
    let mut waiting = runs(&rows);
    waiting.reverse();
    let (waiting, answers) = (Mutex::new(waiting), Mutex::new(BTreeMap::new()));

    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(run) = { waiting.lock().unwrap().pop() } {
                    let played = play(&run, &secrets);
                    answers.lock().unwrap().extend(played);
                }
            });
        }
    });

    let answers = answers.into_inner().unwrap();
    assert_eq!((rows.len(), answers.len()), (342, 342), "rows of the index, rows played");
    let documented: BTreeMap<_, _> =
        SERVER.iter().flat_map(|difference| difference.cases.iter().map(|case| (*case, difference.ours))).collect();
    let mut wrong = Vec::new();
    for row in &rows {
        let (original, ours) = (recorded(row), &answers[&row.name]);
        let expected = documented.get(row.name.as_str()).copied();
        if expected == Some(original.as_str()) {
            wrong.push(format!("{}: documented, but no difference: {original}", row.name));
        } else if *ours != expected.unwrap_or(&original) {
            wrong.push(format!("{}: the original {original:?}, documented {expected:?}, ours {ours:?}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{} of 342:\n{}", wrong.len(), wrong.join("\n"));
    let names: BTreeSet<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert!(documented.keys().all(|case| names.contains(case)), "a documented case does not exist");
}

#[test]
fn an_answer_waits_neither_for_the_rest_of_the_next_request_nor_is_it_lost_if_that_is_none() {
    let lab = Lab::new(2);
    let agent = lab.start(1, "");
    let (underlay, to) = (Underlay::of(lab.netns(2)), "10.77.0.1:4567".parse().unwrap());
    wait_for("the agent answers", SLOW, || underlay.get(to, "/health").is_ok());

    for next in ["GET /tunmesh/control", "NONSENSE\r\n\r\n"] {
        let mut connection = underlay.connect(to, client_tls(&TLS13, &[])).unwrap();
        connection.get_mut().write_all(format!("GET /none HTTP/1.1\r\nHost: x\r\n\r\n{next}").as_bytes()).unwrap();
        let answer = Message::read(&mut connection, false).unwrap().unwrap();
        assert_eq!(answer.status(), 404, "before {next:?}");
    }
    agent.kill();
}

#[test]
fn docs_compatibility_lists_exactly_the_differences() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with("Recorded requests")).unwrap();
    let names = |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(|line| line.split(" | ").collect::<Vec<_>>());
    let mut listed: Vec<_> = rows.map(|row| (names(row[0]), names(row[2]))).collect();

    for difference in SERVER {
        let cases: BTreeSet<_> = difference.cases.iter().map(|case| (*case).to_owned()).collect();
        let row = (cases, BTreeSet::from([difference.ours.to_owned()]));
        let index = listed.iter().position(|listed| *listed == row);
        listed.remove(index.unwrap_or_else(|| panic!("not in the table: {row:?}")));
    }
    assert!(listed.is_empty(), "no differences: {listed:?}");
}

fn recorded(row: &Row) -> String {
    let case = Case::read(&row.case);
    let exchange = &case.exchanges()[row.number];
    outcome::recorded(row, exchange, Request::of(exchange).as_ref())
}

/// The runs of the recording, the longest first.
fn runs(rows: &[Row]) -> Vec<Run> {
    let names: BTreeSet<_> = rows.iter().map(|row| row.case.clone()).collect();
    let mut by_run: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for case in names.iter().map(|name| Case::read(name)) {
        let run = match case.group() {
            "batch" => "packet".into(),
            "broadcast" if case.name.contains("/off_") => "broadcast off".into(),
            "monitoring_none" if case.name.ends_with("_node_metrics") => "monitoring_none, node metrics".into(),
            "poison" | "poison_remote" => case.name.clone(),
            group => group.to_owned(),
        };
        by_run.entry(run).or_default().push(case);
    }
    let mut runs: Vec<_> = by_run.into_iter().map(|(name, cases)| run(name, cases)).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.cases.len()));
    runs
}

fn run(name: String, mut cases: Vec<Case>) -> Run {
    cases.sort_by(|a, b| a.at.total_cmp(&b.at));
    let (config, cast): (_, &[Role]) = match name.as_str() {
        "broadcast" => (BROADCAST, &BROADCAST_CAST),
        "broadcast off" => (NODE_METRICS, &BROADCAST_CAST),
        "monitoring_none" => ("  monitoring: {method: none}", &MONITORING_CAST[..1]),
        "monitoring_none, node metrics" => {
            ("  monitoring: {method: none, enable_node_packet_metrics: true}", &MONITORING_CAST[1..])
        }
        "packet" => (NODE_METRICS, &PACKET_CAST),
        "session" => (NODE_METRICS, &SESSION_CAST),
        "startup_grace" => ("  process: {uid: 65532, timing: {registrations: {startup_grace: 3}}}", &[]),
        "http" => ("", &[]),
        _ => (QUICK, &[]),
    };
    let rounds = if name == "packet" { 4 } else { 1 };
    Run { name, config, cases, cast, rounds }
}

const fn role(id: &'static str, port: u16, address: &'static str) -> Role {
    Role { id, port, address, before: "", when_asked: Manner::Answers }
}

const BROADCAST_CAST: [Role; 2] = [
    role("1895eeba-0709-409f-b929-8986e5315030", 4601, "192.168.129.40/26"),
    role("ae6dddee-4cfc-42bc-bca8-49ffbf35d767", 4602, "192.168.129.100/26"),
];

const MONITORING_CAST: [Role; 2] = [
    role("0df8d864-9298-4173-9c6a-fefae413a4ff", 4605, "192.168.129.40/26"),
    role("f068a74f-850e-4f1a-b8d0-511ebd636ccf", 4606, "192.168.129.40/26"),
];

const PACKET_CAST: [Role; 2] = [
    role("be550d09-5066-49b4-a31a-8dccb155cd95", 4601, "192.168.129.40/26"),
    role("0748ea87-c452-4686-912c-637fca70fd64", 4602, "192.168.129.41/26"),
];

const SESSION_CAST: [Role; 2] = [
    Role {
        id: "535ebefb-cee1-443d-8197-3ad2ce7aa459",
        port: 4602,
        address: "192.168.129.41/26",
        before: "session/peer_refuses_callback",
        when_asked: Manner::Refuses,
    },
    Role {
        id: "b0814152-7fc0-4ae4-9858-fa09374a0074",
        port: 4603,
        address: "192.168.129.42/26",
        before: "session/peer_hangs_callback",
        when_asked: Manner::Hangs,
    },
];

/// One packet thread, since several keep the order of one flow only, and what follows a datagram tells whether it came.
const BROADCAST: &str = "  monitoring: {method: prometheus, enable_node_packet_metrics: true}
  networking: {ipv4: {network_cidr: 192.168.129.0/24, node_address_cidr: 192.168.129.10/26, enable_broadcast: true}, data_plane: {workers: 1}}";

const NODE_METRICS: &str = "  monitoring: {method: prometheus, enable_node_packet_metrics: true}";

/// Registers anew each second, where the recording waited for 16 and 55 s.
const QUICK: &str = "  process: {uid: 65532, timing: {registrations: {groom_interval: 1, \
                     local: {reregistration_interval: 2, stale_threshold: 30}, \
                     mesh: {reregistration_interval: 2, stale_threshold: 30}}}}";

/// Runs played at the same time, each in namespaces of its own.
const AT_ONCE: usize = 4;
