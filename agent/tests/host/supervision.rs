//! An agent with a supervisor: what becomes of it when either is killed, stopped or refused.

use std::fs;
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tunmesh_sys::tun::{self, ProvidedSettings};

use crate::leftovers::observed;
use crate::support::{Agent, Lab, SLOW, UNPRIVILEGED, overlay, wait_for};

#[test]
fn a_killed_agent_has_its_device_again_and_carries_packets_within_two_seconds() {
    let lab = Lab::new(2);
    // The one that calls the other, as a sidecar calls members that its file names.
    let file = lab.config(2, "");
    lab.edit(&file, "networking:\n", "networking:\n    tun_handover: {socket: \"@tunmesh.helper\"}\n");
    let netns = lab.netns(2);
    let listener = netns.run(|| tun::listen("@tunmesh.helper")).unwrap().unwrap();
    let hand_over = || {
        let provide = |queues| tun::provide(&provided(queues)).unwrap();
        let helper = || tun::hand_over(listener.as_fd(), SLOW, |_, hello| Ok(provide(hello.queues)));
        drop(netns.run(helper).unwrap().unwrap());
    };
    let binary = lab.binary();
    let supervisor = start(&lab, 2, &[&UNPRIVILEGED[..], &[&binary]].concat(), &file);
    hand_over();
    let _first = lab.start(1, "");
    lab.wait_for_mesh(&[1, 2]);
    let killed = agent_of(&supervisor);

    let start = Instant::now();
    send(killed, Signal::SIGKILL);
    hand_over();
    wait_for("packets pass again", SLOW, || lab.pings_at(1, overlay(2), "0.05"));
    let gap = start.elapsed();

    println!("agent killed: packets pass again after {gap:?}");
    assert_ne!(agent_of(&supervisor), killed);
    assert!(supervisor.log().contains("WARN"), "{}", supervisor.log());
    assert!(supervisor.log().contains("previous_end=\"SIGKILL after "), "{}", supervisor.log());
    assert!(gap < Duration::from_secs(2), "{gap:?}");
}

#[test]
fn a_supervisor_told_to_stop_exits_with_0_and_nothing_is_left_also_after_a_kill() {
    let lab = Lab::new(1);
    wait_for("the network of the namespace is settled", SLOW, || !observed(&lab)[0].contains("tentative"));
    let before = observed(&lab);
    let file = lab.config(1, "");
    lab.edit(&file, "networking:\n", "networking:\n    clamp_mss: true\n    routes: [10.200.0.0/16]\n");

    let mut supervisor = start(&lab, 1, &[env!("CARGO_BIN_EXE_tunmesh")], &file);
    supervisor.wait_for_log(1, "node started");
    supervisor.reload();
    send(agent_of(&supervisor), Signal::SIGKILL);
    supervisor.wait_for_log(2, "node started");
    let agent = agent_of(&supervisor);
    supervisor.signal(Signal::SIGTERM);

    assert_eq!(supervisor.wait(), 0);
    assert!(supervisor.log().contains("stopping on SIGTERM"), "{}", supervisor.log());
    assert!(!lives(agent));
    wait_for("everything is as before", SLOW, || observed(&lab) == before);
}

#[test]
fn a_refused_file_is_the_end_of_the_supervisor_too() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    lab.edit(&file, "uid: 65532", "uid: 0");

    let mut supervisor = start(&lab, 1, &[env!("CARGO_BIN_EXE_tunmesh")], &file);

    assert_eq!(supervisor.wait(), 1);
    let log = supervisor.log();
    assert_eq!(log.matches("tun_mesh/process/uid").count(), 1, "{log}");
}

#[test]
fn an_agent_that_is_killed_six_times_in_a_row_is_not_started_again() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    let mut supervisor = start(&lab, 1, &[env!("CARGO_BIN_EXE_tunmesh")], &file);

    for starts in 1..=6 {
        supervisor.wait_for_log(starts, "node started");
        send(agent_of(&supervisor), Signal::SIGKILL);
    }

    assert_eq!(supervisor.wait(), 137);
    let log = supervisor.log();
    assert!(log.ends_with("tunmesh: signals ended the agent too often, now SIGKILL\n"), "{log}");
    assert_eq!(log.matches("started again by the supervisor").count(), 5, "{log}");
}

#[test]
fn an_agent_ends_with_its_supervisor_whether_it_changed_its_user_or_had_none_to_change() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    let supervisor = start(&lab, 1, &[env!("CARGO_BIN_EXE_tunmesh")], &file);
    supervisor.wait_for_log(1, "node started");
    let agent = agent_of(&supervisor);
    supervisor.kill();
    wait_for("the agent that changed its user has ended", SLOW, || !lives(agent));

    lab.edit(&file, "networking:\n", "networking:\n    tun_handover: {socket: \"@tunmesh.helper\"}\n");
    let binary = lab.binary();
    let supervisor = start(&lab, 1, &[&UNPRIVILEGED[..], &[&binary]].concat(), &file);
    supervisor.wait_for_log(1, "no TUN device yet");
    let agent = agent_of(&supervisor);
    supervisor.kill();
    wait_for("the agent that had no rights has ended", SLOW, || !lives(agent));
}

#[test]
fn an_agent_whose_supervisor_has_ended_before_it_began_does_not_begin() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    let add = ["sh", "-c", "exec \"$@\" --supervised-by=1", "sh", env!("CARGO_BIN_EXE_tunmesh")];

    let mut agent = lab.start_by(1, &add, Stdio::null(), &file);

    assert_eq!(agent.wait(), 1);
    assert!(agent.log().contains("process 1, the supervisor, has ended"), "{}", agent.log());
}

#[test]
fn a_supervisor_collects_other_processes_and_shows_nobody_its_files() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    let binary = lab.binary();
    let with_another = ["sh", "-c", "sleep 1000 & exec \"$@\"", "sh"];
    let command = [&UNPRIVILEGED[..], &with_another, &[&binary]].concat();
    lab.edit(&file, "networking:\n", "networking:\n    tun_handover: {socket: \"@tunmesh.helper\"}\n");
    let supervisor = start(&lab, 1, &command, &file);
    supervisor.wait_for_log(1, "no TUN device yet");
    let other = child_of(&supervisor, "sleep").unwrap();

    send(other, Signal::SIGKILL);
    wait_for("the other process is collected", SLOW, || child_of(&supervisor, "sleep").is_none());

    let root = format!("/proc/{}/root/", supervisor.pid());
    let look = lab.run(1, UNPRIVILEGED[0], &[&UNPRIVILEGED[1..], &["ls", &root]].concat());
    assert!(String::from_utf8_lossy(&look.stderr).contains("Permission denied"), "{look:?}");
    let status = fs::read_to_string(format!("/proc/{}/status", supervisor.pid())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}

/// Starts the supervisor of a node by a command that ends with the program.
fn start(lab: &Lab, number: usize, command: &[&str], file: &std::path::Path) -> Agent {
    let add = ["sh", "-c", "exec \"$@\" --supervise", "sh"];
    lab.start_by(number, &[&add[..], command].concat(), Stdio::null(), file)
}

/// Process number of the agent, once there is one.
fn agent_of(supervisor: &Agent) -> Pid {
    let mut agent = None;
    wait_for("the supervisor has an agent", SLOW, || {
        agent = child_of(supervisor, "tunmesh");
        agent.is_some()
    });
    agent.unwrap()
}

/// A child of that name.
fn child_of(supervisor: &Agent, name: &str) -> Option<Pid> {
    let parent = format!(" {} ", supervisor.pid());
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    numbers
        .map(Pid::from_raw)
        .find(|pid| stat(*pid).is_some_and(|(found, _, rest)| found == name && rest.starts_with(&parent)))
}

/// Whether a process is there and does more than wait to be collected.
fn lives(pid: Pid) -> bool {
    stat(pid).is_some_and(|(_, state, _)| !['X', 'Z'].contains(&state))
}

/// Name, state, and the rest of `/proc/PID/stat`, which begins with the parent.
fn stat(pid: Pid) -> Option<(String, char, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = text.split_once('(')?.1.rsplit_once(") ")?;
    let mut rest = rest.chars();
    Some((name.to_owned(), rest.next()?, rest.collect()))
}

fn send(pid: Pid, signal: Signal) {
    kill(pid, signal).unwrap();
}

/// How a helper makes the device of node 2, which stays.
fn provided(queues: u16) -> ProvidedSettings<'static> {
    ProvidedSettings {
        name: "tun1",
        owner: "node 2",
        addresses: vec![overlay(2).into()],
        networks: vec!["192.168.129.0/24".parse().unwrap()],
        mtu: 1300,
        queue_len: 500,
        max_segments: None,
        queues,
    }
}
