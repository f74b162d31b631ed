//! Private namespaces, and that nothing of them stays. Needs root and /dev/net/tun.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use support::{eventually, example};
use tunmesh_sys::private::{self, PrivateError};

#[test]
fn a_program_sees_a_network_processes_and_run_of_its_own() {
    let script = "ip -o link show | grep -c .; ip -o link show lo | grep -c UP; ls /run | wc -l; readlink /proc/self/ns/net; \
                  cat /proc/1/comm; ps -e | wc -l; id -u";

    let output = secluded(&["run", "/bin/sh", "-c", script]);

    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let lines: Vec<&str> = output.lines().collect();
    let [links, loopback, run, netns, first, processes, user] = lines.as_slice() else { panic!("{output}") };
    assert_eq!([*links, *loopback, *run, *first, *user], ["1", "1", "0", "secluded", "0"]);
    assert_ne!(*netns, host.to_str().unwrap());
    assert!(processes.parse::<u32>().unwrap() < 10, "{output}");
}

#[test]
fn the_status_of_the_program_is_that_of_the_child() {
    let code = |script: &str| {
        let args = ["run", "/bin/sh", "-c", script];
        Command::new(example("secluded")).args(args).status().unwrap().code()
    };

    assert_eq!(code("exit 7"), Some(7));
    assert_eq!(code("kill -9 $$"), Some(137));
    // An orphan does not keep it, and is not taken for the program.
    assert_eq!(code("(sleep 1000 & true); exit 3"), Some(3));
}

#[test]
fn a_child_ends_when_told_to_and_when_dropped() {
    let sleep = || private::spawn(Path::new("/bin/sleep"), &["1000".into()]).unwrap();
    let mut asked = sleep();
    assert_eq!(asked.try_wait().unwrap(), None);

    asked.terminate().unwrap();
    assert_eq!(asked.wait().unwrap().code(), Some(128 + libc::SIGTERM));
    asked.kill().unwrap();

    let dropped = sleep();
    let process = format!("/proc/{}", dropped.id());
    assert!(Path::new(&process).exists());
    drop(dropped);
    assert!(!Path::new(&process).exists());
}

#[test]
fn a_program_that_does_not_exist_is_an_error() {
    let missing = private::spawn(Path::new("/absent"), &[]).unwrap_err();
    let argument = private::spawn(Path::new("/bin/true"), &["a\0b".into()]).unwrap_err();

    assert_eq!(missing.to_string(), "failed to run /absent");
    assert!(matches!(argument, PrivateError::Argument));
}

#[test]
fn nothing_is_left_after_the_parent_is_killed() {
    nothing_is_left_after_a_kill(Command::new(example("secluded")).arg("parent"));
}

#[test]
fn a_user_without_privileges_gets_them_inside_only() {
    let script =
        "id -u; id -g; grep CapEff /proc/self/status; ip link add br0 type bridge && ip -o link show br0 | grep -c .";

    let output = secluded(&["run", example("secluded").to_str().unwrap(), "without-root", "/bin/sh", "-c", script]);

    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines, ["65532", "65532", "CapEff:\t0000000000203000", "1"], "NET_ADMIN, NET_RAW and SYS_ADMIN");
}

#[test]
fn a_user_without_privileges_makes_a_device_and_leaves_nothing() {
    let example = example("secluded");
    let args = ["run", example.to_str().unwrap(), "without-root", "/dev/net/secluded", "child"];
    nothing_is_left_after_a_kill(Command::new(&example).args(args));
}

/// Starts a parent that prints the network namespace of its child, kills it and waits until all inside is gone.
fn nothing_is_left_after_a_kill(parent: &mut Command) {
    let mut parent = parent.stdout(Stdio::piped()).spawn().unwrap();
    let mut netns = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut netns).unwrap();
    let netns = netns.trim();
    // The first process, the program and its sleeper.
    assert_eq!(processes_in(netns), 3);

    parent.kill().unwrap();
    parent.wait().unwrap();

    eventually("every process inside gone", || (processes_in(netns) == 0).then_some(()));
}

fn secluded(args: &[&str]) -> String {
    let output = Command::new(example("secluded")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Processes whose network namespace is `netns`, such as `net:[4026531840]`.
fn processes_in(netns: &str) -> usize {
    assert!(netns.starts_with("net:["), "{netns:?}");
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    processes
        .filter_map(|path| fs::read_link(path.join("ns/net")).ok())
        .filter(|found| found == Path::new(netns))
        .count()
}
