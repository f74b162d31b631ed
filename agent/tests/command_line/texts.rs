//! Commands that need no node.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::Lab;
use crate::{said, tunmesh};

#[test]
fn the_version_is_that_of_the_crate_either_way() {
    for args in [["version"], ["--version"]] {
        let expected = format!("tunmesh {}\n", env!("CARGO_PKG_VERSION"));

        assert_eq!(said(&tunmesh(&args)), (0, expected, String::new()));
    }
}

#[test]
fn help_names_every_command_and_no_inner_one() {
    let (code, help, _) = said(&tunmesh(&["--help"]));

    assert_eq!(code, 0);
    for command in ["check", "completions", "config", "demo", "export", "run", "status", "version"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} is not in\n{help}");
        assert_eq!(said(&tunmesh(&[command, "--help"])).0, 0);
    }
    assert!(!help.contains("demo-stage"), "{help}");
}

#[test]
fn a_wrong_command_line_is_status_2() {
    for args in [&["fly"][..], &[], &["config"], &["run", "--colour"], &["demo", "--json", "--keep"]] {
        let (code, stdout, stderr) = said(&tunmesh(args));

        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
        assert!(stderr.contains("Usage"), "{stderr}");
    }
}

#[test]
fn completions_are_there_for_each_shell_and_those_for_bash_are_bash() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = said(&tunmesh(&["completions", shell]));

        assert_eq!(code, 0);
        assert!(script.contains("tunmesh") && script.contains("status"), "{shell}: {script}");
    }
    let script = tunmesh(&["completions", "bash"]).stdout;
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(&script).unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn a_reader_that_went_away_is_no_panic() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tunmesh"))
        .args(["config", "example"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());

    let output = child.wait_with_output().unwrap();

    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
}

#[test]
fn status_without_a_node_says_where_to_look() {
    let lab = Lab::new(1);
    for args in [&["status"][..], &["status", "--json"]] {
        let output = lab.run(1, env!("CARGO_BIN_EXE_tunmesh"), &[args, &["--device", "mesh7"]].concat());
        let (code, stdout, stderr) = said(&output);

        assert_eq!((code, stdout.as_str()), (1, ""));
        for part in ["mesh7", "--device", "nsenter -n -t PID"] {
            assert!(stderr.contains(part), "{stderr}");
        }
    }
}

#[test]
fn check_prints_each_finding_with_its_code_cause_and_fix() {
    let lab = Lab::new(1);
    let output = lab.run(1, env!("CARGO_BIN_EXE_tunmesh"), &["check", "--config", "/nowhere", "--device", "mesh7"]);
    let (code, stdout, stderr) = said(&output);

    assert_eq!((code, stderr.as_str()), (1, ""));
    let firsts: Vec<_> = stdout.lines().filter(|line| line.starts_with("TM")).collect();
    let expected = ["TM0001 error: the configuration cannot be used", "TM0004 error: no node answers"];
    assert_eq!(firsts, expected, "{stdout}");
    for part in
        ["found: /nowhere", "cause: No such file", "mesh7", "nsenter -n -t PID", "errors 2, warnings 0, notes 0"]
    {
        assert!(stdout.contains(part), "{part} is not in\n{stdout}");
    }
}

#[test]
fn status_shows_the_node_of_its_namespace_and_device_only() {
    let lab = Lab::new(2);
    let file = lab.config(1, "");
    lab.edit(&file, "networking:\n", "networking:\n    tun_device_id: mesh7\n");
    let _first = lab.start_from(1, &file);
    let _second = lab.start(2, "");
    lab.wait_for_mesh(&[1, 2]);

    let status = |number: usize, device: &str| {
        said(&lab.run(number, env!("CARGO_BIN_EXE_tunmesh"), &["status", "--device", device]))
    };

    let (code, table, _) = status(1, "mesh7");
    assert_eq!(code, 0);
    for part in ["192.168.129.10/26", "192.168.129.20", "mesh7", "healthy", "PEER", "packet threads", "UDP port 4567"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    assert_eq!([status(1, "tun1").0, status(2, "mesh7").0], [1, 1]);
    assert!(status(2, "tun1").1.contains("192.168.129.20/26"));
}
