//! What a confined process can and cannot do, told by one (`examples/confined.rs`) and by the kernel.
//!
//! Needs root and /dev/net/tun.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{example, settings};
use tunmesh_sys::netns::Netns;
use tunmesh_sys::privileges::{Confinement, PrivilegeError, confine};
use tunmesh_sys::tun;

#[test]
fn a_confined_process_keeps_only_what_an_agent_needs() {
    let netns = Netns::create().unwrap();
    let files = Files::new("root");
    let mut confined = Confined::start(&netns, &files, 0, "65532", "");

    assert_said(&mut confined, "confined", "\"user 65532, group 65532, no capability, landlock full, seccomp allows");
    for (what, errno) in FORBIDDEN {
        assert_said(&mut confined, what, errno);
    }
    for (what, outcome) in ALLOWED {
        assert_said(&mut confined, what, outcome);
    }
    let status = confined.status();
    for line in [
        "Uid:\t65532\t65532\t65532\t65532",
        "Gid:\t65532\t65532\t65532\t65532",
        "Groups:\t ",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Seccomp_filters:\t2",
    ] {
        assert!(status.lines().any(|found| found == line), "no {line:?} in\n{status}");
    }
}

#[test]
fn a_process_that_is_that_user_already_needs_no_capability() {
    let netns = Netns::create().unwrap();
    let files = Files::new("user");
    let mut confined = Confined::start(&netns, &files, 65532, "65532", "");

    assert_said(&mut confined, "confined", "no capability (bounding set as found), landlock full");
    for (what, errno) in FORBIDDEN {
        assert_said(&mut confined, what, errno);
    }
    for (what, outcome) in ALLOWED {
        assert_said(&mut confined, what, outcome);
    }
}

#[test]
fn a_user_without_capabilities_cannot_become_another() {
    let netns = Netns::create().unwrap();
    let files = Files::new("other");

    let mut confined = Confined::start(&netns, &files, 65532, "1000", "");

    assert!(!confined.child.wait().unwrap().success());
}

#[test]
fn a_device_handed_over_works_without_any_capability() {
    let netns = Netns::create().unwrap();
    let files = Files::new("device");
    let listener = netns.run(|| tun::listen("@tm.nh")).unwrap().unwrap();
    let mut confined = Confined::start(&netns, &files, 65532, "65532", "@tm.nh");
    let give = |_, _: &tun::Hello| Ok(tun::create(&settings("mesh0")).unwrap().into());
    let client = netns.run(|| tun::hand_over(listener.as_fd(), Duration::from_secs(10), give)).unwrap().unwrap();
    let peer = client.peer();
    assert_eq!((peer.uid, peer.gid), (65532, 65532));
    assert_said(&mut confined, "rss", "Ok(true)");
    assert!(confined.status().contains("CapEff:\t0000000000000000"));

    let socket = netns.run(|| UdpSocket::bind("192.168.129.10:7000")).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(b"there and back", "192.168.129.70:7000").unwrap();

    assert_said(&mut confined, "packet", "Ok(42)");
    let mut text = [0; 64];
    let (len, from) = socket.recv_from(&mut text).unwrap();
    assert_eq!((&text[..len], from), (&b"there and back"[..], "192.168.129.70:7000".parse().unwrap()));
}

#[test]
fn a_process_with_threads_is_refused() {
    let refused = confine(&Confinement { uid: 0, gid: 0, readable: Vec::new() });

    assert!(matches!(refused, Err(PrivilegeError::Threads { threads: 2.. })), "{refused:?}");
}

/// In the order the example reports.
const FORBIDDEN: [(&str, &str); 5] = [
    ("device file", "Err(Os { code: 13,"),
    ("exec", "Err(Os { code: 1,"),
    ("write", "Err(Os { code: 1,"),
    ("create", "Err(Os { code: 1,"),
    ("remove", "Err(Os { code: 1,"),
];
const ALLOWED: [(&str, &str); 9] = [
    ("read", "Ok(\"contents\")"),
    ("list", "Ok(1)"),
    ("read hidden", "Err(Os { code: 13,"),
    ("namespace", "Err(Unshare(Os { code: 1,"),
    ("tcp", "Ok(5)"),
    ("resolve", "Ok(true)"),
    ("udp", "Ok([2400, 3, 4, 8])"),
    ("thread", "Ok(\"ran\")"),
    ("rss", "Ok(true)"),
];

/// Two directories everybody may read and write as far as permissions go, each with a file.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("confine-{name}-{}", std::process::id()));
        for directory in ["", "readable", "hidden"] {
            let path = root.join(directory);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        for file in ["readable/file", "hidden/file"] {
            fs::write(root.join(file), "contents").unwrap();
            fs::set_permissions(root.join(file), fs::Permissions::from_mode(0o666)).unwrap();
        }
        fs::copy(example("confined"), root.join("confined")).unwrap();
        Self(root)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Confined {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Confined {
    fn start(netns: &Netns, files: &Files, uid: u32, target: &str, socket: &str) -> Self {
        let mut command = Command::new(files.0.join("confined"));
        command.arg(target).arg(files.0.join("readable")).arg(files.0.join("hidden")).arg(socket);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // From inside: a closure that enters the namespace would run after the change of user.
        netns.run(|| command.uid(uid).gid(uid).spawn()).unwrap().map(Self::of).unwrap()
    }

    fn of(mut child: Child) -> Self {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn status(&self) -> String {
        fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap()
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn assert_said(confined: &mut Confined, what: &str, expected: &str) {
    let prefix = format!("{what}: ");
    let line = confined.lines.by_ref().map(Result::unwrap).find(|line| line.starts_with(&prefix));
    let line = line.unwrap_or_else(|| panic!("nothing said about {what}"));
    assert!(line.contains(expected), "{line}");
}
