//! `tunmesh demo`: that it works, and that nothing is left of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tunmesh_sys::netns::Netns;

use crate::said;
use crate::support::{Lab, SLOW, TUN_FOR_ALL, wait_for};

#[test]
fn the_demo_reaches_every_pair_and_leaves_nothing_behind() {
    let netns = Netns::create().unwrap();
    let before = surroundings(&netns);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunmesh"));
    command.args(["demo", "--json", "--seconds", "1"]).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    netns.join_on_exec(&mut command).unwrap();
    let mut child = command.spawn().unwrap();

    let family = family_until_the_end(&mut child);
    let output = child.wait_with_output().unwrap();

    assert_complete(&output);
    // The demo, the first process of its namespaces, the stage, three agents.
    assert!(family.len() >= 6, "{family:?}");
    wait_for("every process is gone", SLOW, || family.iter().all(|process| !process.is_there()));
    wait_for("all is as before", SLOW, || surroundings(&netns) == before);
}

#[test]
fn a_demo_that_stays_can_be_tried_as_it_says_and_vanishes_when_killed() {
    let lab = Lab::new(1);
    let log = lab.folder.join("demo.txt");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunmesh"));
    command.args(["demo", "--keep", "--seconds", "1"]).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(File::create(&log).unwrap());
    let before = surroundings(lab.netns(1));
    lab.netns(1).join_on_exec(&mut command).unwrap();
    let mut child = command.spawn().unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    wait_for("the mesh stays up", SLOW, || said().contains("the mesh stays up"));

    let hints: Vec<String> = said().lines().filter(|line| line.contains("nsenter")).map(str::to_owned).collect();
    assert_eq!(hints.len(), 2, "{}", said());
    for hint in hints {
        let tried = lab.run(1, "sh", &["-c", &hint]);
        assert!(tried.status.success(), "{hint}: {tried:?}");
    }
    let family = family(child.id());
    let namespaces: BTreeSet<PathBuf> = family.iter().filter_map(Process::netns).collect();
    assert!(family.len() >= 6 && namespaces.len() >= 5, "{family:?} in {namespaces:?}");

    child.kill().unwrap();
    child.wait().unwrap();

    wait_for("every process is gone", SLOW, || family.iter().all(|process| !process.is_there()));
    // The demo itself ran in the namespace of this test.
    let ours = lab.netns(1).run(|| fs::read_link("/proc/thread-self/ns/net")).unwrap().unwrap();
    let theirs: BTreeSet<_> = namespaces.into_iter().filter(|netns| *netns != ours).collect();
    wait_for("nobody is in its namespaces", SLOW, || {
        everybody()
            .keys()
            .filter_map(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).ok())
            .all(|netns| !theirs.contains(&netns))
    });
    wait_for("all is as before", SLOW, || surroundings(lab.netns(1)) == before);
}

#[test]
fn a_user_without_rights_gets_the_demo_or_the_reason_why_not() {
    let lab = Lab::new(1);
    let binary = lab.binary();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"];
    let run = |command: &[&str]| lab.run(1, command[0], &command[1..]);
    let demo = [&binary, "demo", "--json", "--seconds", "1"];
    // What stands in the way does so for others too.
    let namespaces_allowed =
        run(&[&nobody[..], &["unshare", "--user", "--map-root-user", "--net", "true"]].concat()).status.success();
    let forbidden_by_setting = [("user/max_user_namespaces", "0"), ("kernel/unprivileged_userns_clone", "0")]
        .iter()
        .any(|(setting, value)| {
            fs::read_to_string(Path::new("/proc/sys").join(setting)).is_ok_and(|text| text.trim() == *value)
        });
    assert!(!(namespaces_allowed && forbidden_by_setting), "the probe and the settings disagree");
    let device_allowed = fs::metadata("/dev/net/tun").unwrap().permissions().mode() & 0o006 == 0o006;

    let as_it_is = run(&[&nobody[..], &demo].concat());
    let with_device = run(&[&TUN_FOR_ALL[..], &nobody, &demo].concat());

    for (output, device_allowed) in [(as_it_is, device_allowed), (with_device, true)] {
        if namespaces_allowed && device_allowed {
            assert_complete(&output);
            continue;
        }
        let (code, stdout, stderr) = said(&output);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        let reason =
            if device_allowed { "failed to make private namespaces: " } else { "/dev/net/tun cannot be opened: " };
        assert!(stderr.contains(reason) && stderr.contains("run as root"), "{stderr}");
    }
}

/// Exit status 0 and a report of six pairs without a lost echo.
fn assert_complete(output: &Output) {
    let (code, stdout, stderr) = said(output);
    assert_eq!(code, 0, "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let pairs = report["pairs"].as_array().unwrap();
    let names: BTreeSet<_> = pairs.iter().map(|pair| (pair["from"].as_str(), pair["to"].as_str())).collect();
    assert_eq!((pairs.len(), names.len()), (6, 6), "{stdout}");
    for pair in pairs {
        assert_ne!(pair["from"], pair["to"]);
        assert!(pair["sent"].as_u64().unwrap() > 0);
        assert_eq!(pair["received"], pair["sent"], "{pair}");
    }
    assert_eq!(report["nodes"].as_array().unwrap().len(), 3);
    for figure in ["ready_ms", "tcp_mbit_per_s", "veth_tcp_mbit_per_s"] {
        assert!(report[figure].as_f64().unwrap() > 0.0, "{figure}");
    }
}

/// What a demo might leave: named namespaces, files under /run, mounts, links.
fn surroundings(netns: &Netns) -> [String; 4] {
    let ip = |args: &[&str]| {
        let mut command = Command::new("ip");
        command.args(args);
        netns.join_on_exec(&mut command).unwrap();
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let mut run: Vec<_> =
        fs::read_dir("/run").unwrap().map(|entry| format!("{:?}", entry.unwrap().file_name())).collect();
    run.sort_unstable();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    [ip(&["netns", "list"]), run.join("\n"), mounts, ip(&["-j", "link"])]
}

/// Waits for the end of a child and returns all processes that were its descendants at some time, itself included.
fn family_until_the_end(child: &mut Child) -> BTreeSet<Process> {
    let mut found = BTreeSet::new();
    // A report is a few kB, less than a pipe holds, so the child never waits for us.
    wait_for("the demo ends", Duration::from_secs(60), || {
        found.extend(family(child.id()));
        // Not waited for: the process number must stay its own while it is looked at.
        found.iter().any(|process| process.pid == child.id() && process.has_ended())
    });
    found
}

/// A process, told from a later one with the same number by its start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    pid: u32,
    started: u64,
}

impl Process {
    fn is_there(&self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.started == self.started)
    }

    fn has_ended(&self) -> bool {
        Stat::of(self.pid).is_none_or(|stat| stat.state == "Z")
    }

    fn netns(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/ns/net", self.pid)).ok()
    }
}

/// The process `pid` and its descendants.
fn family(pid: u32) -> BTreeSet<Process> {
    let everybody = everybody();
    let mut pids = BTreeSet::from([pid]);
    loop {
        let children = everybody.iter().filter(|(_, stat)| pids.contains(&stat.parent)).map(|(pid, _)| *pid);
        let grown: BTreeSet<u32> = pids.iter().copied().chain(children).collect();
        if grown.len() == pids.len() {
            break;
        }
        pids = grown;
    }
    pids.into_iter().filter_map(|pid| Some(Process { pid, started: everybody.get(&pid)?.started })).collect()
}

fn everybody() -> BTreeMap<u32, Stat> {
    let names = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).filter_map(|pid| Some((pid, Stat::of(pid)?))).collect()
}

/// Fields 3, 4 and 22 of `/proc/PID/stat`.
struct Stat {
    state: String,
    parent: u32,
    started: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let mut text = String::new();
        File::open(format!("/proc/{pid}/stat")).ok()?.read_to_string(&mut text).ok()?;
        // The name before may hold anything, but ends at the last bracket.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        Some(Self { state: fields[0].into(), parent: fields[1].parse().ok()?, started: fields[19].parse().ok()? })
    }
}
