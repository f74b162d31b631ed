//! The rights of a running agent.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use crate::support::{Agent, Lab, SLOW, TUN_FOR_ALL, UNPRIVILEGED, wait_for};

#[test]
fn every_thread_of_a_running_agent_has_its_user_and_no_right() {
    let lab = Lab::new(1);
    let file = lab.config(1, "    gid: 65531\n");
    // Begins with groups that are none of its business.
    let command = ["setpriv", "--groups=4,20", "--", env!("CARGO_BIN_EXE_tunmesh")];

    let agent = lab.start_by(1, &command, Stdio::null(), &file);

    wait_for("the node runs", SLOW, || lab.ask(1).is_some());
    let threads = threads(&agent);
    assert!(threads.len() >= 3, "{} threads", threads.len());
    for status in threads {
        assert_powerless(&status, "65532", "65531");
    }
}

#[test]
fn the_group_is_the_number_of_the_user_unless_the_file_has_one() {
    let lab = Lab::new(1);

    let agent = lab.start(1, "");

    wait_for("the node runs", SLOW, || lab.ask(1).is_some());
    for status in threads(&agent) {
        assert_powerless(&status, "65532", "65532");
    }
}

#[test]
fn another_process_of_that_user_can_neither_open_the_device_nor_look_into_the_agent() {
    // Deleting begins with attaching; adding would ask for a new device.
    let attach = ["ip", "tuntap", "del", "dev", "tun1", "mode", "tun"];
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    lab.edit(&file, "networking:\n", "networking:\n    data_plane: {workers: 2}\n");
    {
        let _agent = lab.start_from(1, &file);
        wait_for("the node runs", SLOW, || lab.ask(1).is_some());
        // A device of several queues could be given one more.
        let refused = run(&lab, &[&TUN_FOR_ALL[..], &UNPRIVILEGED, &attach, &["multi_queue"]].concat());
        assert!(refused.contains("Operation not permitted"), "{refused}");
    }
    lab.edit(&file, "workers: 2", "workers: 1");
    let agent = lab.start_from(1, &file);
    wait_for("the node runs", SLOW, || lab.ask(1).is_some());

    let refused = run(&lab, &[&TUN_FOR_ALL[..], &UNPRIVILEGED, &attach].concat());
    assert!(refused.contains("Operation not permitted"), "{refused}");
    let busy = run(&lab, &[&TUN_FOR_ALL[..], &attach].concat());
    assert!(busy.contains("busy"), "not even root: {busy}");

    // A process that is not protected, to see that the user could look.
    let mut open = Command::new(UNPRIVILEGED[0]).args(&UNPRIVILEGED[1..]).args(["sleep", "100"]).spawn().unwrap();
    let look = |pid: u32| {
        let script = format!("cat /proc/{pid}/environ >/dev/null && ls -l /proc/{pid}/fd >/dev/null && echo seen");
        run(&lab, &[&UNPRIVILEGED[..], &["sh", "-c", &script]].concat())
    };
    wait_for("the other process is that user", SLOW, || look(open.id()).contains("seen"));
    let unseen = look(agent.pid());
    open.kill().unwrap();
    open.wait().unwrap();
    assert!(unseen.contains("Permission denied") && !unseen.contains("seen"), "{unseen}");
}

/// Output and errors of a command in the namespace of node 1.
fn run(lab: &Lab, command: &[&str]) -> String {
    let output = lab.run(1, command[0], &command[1..]);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// `/proc/PID/task/*/status`.
pub(crate) fn threads(agent: &Agent) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    let status = |path: std::path::PathBuf| fs::read_to_string(path.join("status")).unwrap();
    let fields = |text: String| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
    };
    tasks.map(|task| fields(status(task.unwrap().path()))).collect()
}

pub(crate) fn assert_powerless(status: &BTreeMap<String, String>, user: &str, group: &str) {
    let all_four = |id: &str| [id; 4].join("\t");
    let none = "0000000000000000";
    let expected = [
        ("Uid", all_four(user)),
        ("Gid", all_four(group)),
        ("Groups", String::new()),
        ("CapInh", none.into()),
        ("CapPrm", none.into()),
        ("CapEff", none.into()),
        ("CapBnd", none.into()),
        ("CapAmb", none.into()),
        ("NoNewPrivs", "1".into()),
        ("Seccomp", "2".into()),
    ];
    for (key, value) in expected {
        assert_eq!(status[key], value, "{key} of thread {}", status["Name"]);
    }
}
