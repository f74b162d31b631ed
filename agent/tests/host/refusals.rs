//! Why an agent does not start: one clear line and exit status 1.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use crate::support::{Lab, UNPRIVILEGED};

#[test]
fn user_0_is_refused() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    lab.edit(&file, "uid: 65532", "uid: 0");

    let reason = refused(&lab, &[env!("CARGO_BIN_EXE_tunmesh")], &file);

    assert!(reason.contains("tun_mesh/process/uid") && reason.contains("\"0\""), "{reason}");
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    let _taken = lab.netns(1).run(|| TcpListener::bind("0.0.0.0:4567")).unwrap().unwrap();

    let reason = refused(&lab, &[env!("CARGO_BIN_EXE_tunmesh")], &file);

    for part in ["0.0.0.0:4567", "control_api.listen_port", "in use"] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn a_device_that_exists_is_left_alone() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    assert!(lab.run(1, "ip", &["tuntap", "add", "dev", "tun1", "mode", "tun"]).status.success());

    let reason = refused(&lab, &[env!("CARGO_BIN_EXE_tunmesh")], &file);

    assert!(reason.contains("tun1 exists already"), "{reason}");
    assert!(lab.run(1, "ip", &["link", "show", "dev", "tun1"]).status.success());
}

#[test]
fn missing_rights_are_named_with_what_to_do() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    let binary = lab.binary();
    let without_net_admin = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--", &binary];

    let root = refused(&lab, &without_net_admin, &file);
    let nobody = refused(&lab, &[&UNPRIVILEGED[..], &[&binary]].concat(), &file);

    assert!(root.contains("needs CAP_NET_ADMIN") && root.contains("NET_ADMIN to the container"), "{root}");
    assert!(nobody.contains("TUN device") && nobody.contains("node helper"), "{nobody}");
}

#[test]
fn certificates_that_are_absent_empty_or_of_another_key_are_named() {
    let lab = Lab::new(1);
    lab.write("empty.pem", "");
    let cases = [
        ("cert.pem, key_file_path: key.pem", "absent.pem, key_file_path: key.pem", "absent.pem"),
        ("cert.pem, key_file_path: key.pem", "empty.pem, key_file_path: key.pem", "no certificate in"),
        ("cert.pem, key_file_path: key.pem", "cert.pem, key_file_path: empty.pem", "failed to read PEM"),
        ("cert.pem, key_file_path: key.pem", "cert.pem, key_file_path: leaf.key", "failed to use the certificate"),
    ];
    for (from, to, expected) in cases {
        let file = lab.config(1, "");
        lab.edit(&file, from, to);

        let reason = refused(&lab, &[env!("CARGO_BIN_EXE_tunmesh")], &file);

        assert!(reason.contains(expected), "{expected}: {reason}");
    }
}

#[test]
fn a_file_that_does_not_exist_is_named() {
    let lab = Lab::new(1);

    let reason = refused(&lab, &[env!("CARGO_BIN_EXE_tunmesh")], Path::new("/absent/config.yaml"));

    assert!(reason.contains("/absent/config.yaml"), "{reason}");
}

/// Starts the agent, sees it end with status 1, and returns the one thing it said that was no log line.
fn refused(lab: &Lab, command: &[&str], file: &Path) -> String {
    let _earlier = std::fs::remove_file(lab.folder.join("node1.log"));
    let mut agent = lab.start_by(1, command, Stdio::null(), file);
    assert_eq!(agent.wait(), 1, "{}", agent.log());
    let log = agent.log();
    assert_eq!(log.matches("tunmesh: ").count(), 1, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    log[log.find("tunmesh: ").unwrap()..].to_owned()
}
