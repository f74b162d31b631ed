//! Changes of the files of a running node.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::QUICK;
use crate::support::https::certificate;
use crate::support::{Agent, Lab, SLOW, wait_for};

#[test]
fn a_bootstrap_url_added_to_the_file_joins_without_a_restart() {
    let (lab, agents, file) = apart();
    let id = lab.ask(2).unwrap()["node_id"].clone();

    lab.edit(&file, "bootstrap_node_urls: []", "bootstrap_node_urls: [\"https://10.77.0.1:4567\"]");

    // Nobody says that the file has changed.
    lab.wait_for_mesh(&[1, 2]);
    assert_eq!(lab.ask(2).unwrap()["node_id"], id);
    drop(agents);
}

#[test]
fn a_hang_up_reloads_at_once_even_an_unchanged_file() {
    let (lab, [_first, second], file) = apart();
    second.reload();
    second.reload();

    lab.edit(&file, "bootstrap_node_urls: []", "bootstrap_node_urls: [\"https://10.77.0.1:4567\"]");
    second.reload();

    lab.wait_for_mesh(&[1, 2]);
}

#[test]
fn a_file_named_without_its_folder_is_read_again_too() {
    let lab = Lab::new(1);
    lab.config(1, QUICK);
    let in_its_folder = ["env", "-C", lab.folder.to_str().unwrap(), env!("CARGO_BIN_EXE_tunmesh")];

    let agent = lab.start_by(1, &in_its_folder, Stdio::null(), Path::new("node1.yaml"));

    agent.wait_for_log(1, "node started");
    agent.reload();
}

#[test]
fn the_log_level_changes_while_the_node_runs() {
    let (lab, [_first, second], file) = apart();
    // A connection that ends before it said anything is worth a line at level debug.
    let knock = || drop(lab.netns(1).run(|| TcpStream::connect("10.77.0.2:4567")).unwrap().unwrap());
    let debug_lines = || second.log().matches(" DEBUG ").count();
    knock();
    assert_eq!(debug_lines(), 0);

    lab.edit(&file, "monitoring:", "logging: {level: debug}\n  monitoring:");
    second.reload();
    knock();
    second.wait_for_log(1, "connection ended");

    lab.edit(&file, "level: debug", "level: info");
    second.reload();
    let before = debug_lines();
    knock();
    second.reload();
    assert_eq!(debug_lines(), before);
}

#[test]
fn changed_certificate_files_are_used_for_new_connections() {
    let lab = Lab::new(3);
    let agents = [1, 2].map(|number| lab.start(number, QUICK));
    lab.wait_for_mesh(&[1, 2]);
    let before = certificate(lab.netns(3), 1);

    let made = rcgen::generate_simple_self_signed(vec!["tunmesh.local".into()]).unwrap();
    lab.replace(&lab.folder.join("key.pem"), &made.signing_key.serialize_pem());
    lab.replace(&lab.folder.join("cert.pem"), &made.cert.pem());
    for agent in &agents {
        agent.reload();
    }

    assert_ne!(certificate(lab.netns(3), 1), before);
    assert_eq!(certificate(lab.netns(3), 1), *made.cert.der());
    let _third = lab.start(3, QUICK);
    lab.wait_for_mesh(&[1, 2, 3]);
}

#[test]
fn a_broken_file_is_reported_once_and_changes_nothing() {
    let lab = Lab::new(2);
    let agents = [1, 2].map(|number| lab.start(number, QUICK));
    lab.wait_for_mesh(&[1, 2]);
    let file = lab.folder.join("node2.yaml");
    let before = lab.ask(2).unwrap();

    for broken in ["tun_mesh: [", "tun_mesh: {colour: blue}"] {
        let reported = || agents[1].log().matches("the changed configuration is not used").count();
        let earlier = reported();
        lab.replace(&file, broken);
        wait_for("the problem is reported", SLOW, || reported() > earlier);
    }
    lab.replace(&lab.folder.join("key.pem"), "no key");
    agents[1].wait_for_log(3, "the changed configuration is not used");

    let after = lab.ask(2).unwrap();
    assert_eq!(after["node_id"], before["node_id"]);
    assert_eq!(after["peers"][0]["node_id"], before["peers"][0]["node_id"]);
    assert!(lab.pings(1, 2) && lab.pings(2, 1));
    assert!(!agents[1].log().contains("configuration reloaded"));
}

#[test]
fn a_certificate_that_is_written_after_the_file_that_names_it_is_taken_then() {
    let lab = Lab::new(2);
    let first = lab.start(1, QUICK);
    first.wait_for_log(1, "node started");
    let before = certificate(lab.netns(2), 1);
    let file = lab.folder.join("node1.yaml");
    lab.edit(
        &file,
        "cert_file_path: cert.pem, key_file_path: key.pem",
        "cert_file_path: new.pem, key_file_path: new.key",
    );
    first.wait_for_log(1, "the changed configuration is not used");

    let made = rcgen::generate_simple_self_signed(vec!["tunmesh.local".into()]).unwrap();
    lab.write("new.pem", &made.cert.pem());
    lab.write("new.key", &made.signing_key.serialize_pem());
    first.wait_for_log(1, "configuration reloaded");

    assert_ne!(before, *made.cert.der());
    assert_eq!(certificate(lab.netns(2), 1), *made.cert.der());
}

#[test]
fn a_change_that_needs_a_restart_is_named_and_the_running_value_stays() {
    let (lab, [_first, second], file) = apart();

    lab.edit(&file, "control_api:\n", "control_api:\n    listen_port: 4999\n");
    lab.edit(&file, "networking:\n", "networking:\n    mtu: 1300\n");
    lab.edit(&file, "uid: 65532", "uid: 65531");
    lab.edit(&file, "advertise_url: https://10.77.0.2:4567", "advertise_url: https://10.77.0.2:4999");
    second.reload();

    let keys = ["clustering.control_api_advertise_url", "control_api.listen_port", "networking.mtu", "process.uid"];
    for key in keys {
        assert!(second.log().contains(&format!("key=\"{key}\"")), "{key} is not in\n{}", second.log());
    }
    assert_eq!(lab.ask(2).unwrap()["mtu"], 1420);
    // Still served at the old port.
    certificate(lab.netns(1), 2);
}

/// Two nodes that do not know of each other, and the file of the second.
fn apart() -> (Lab, [Agent; 2], PathBuf) {
    let lab = Lab::new(2);
    let first = lab.start(1, QUICK);
    let file = lab.config(2, QUICK);
    lab.edit(&file, "bootstrap_node_urls: [\"https://10.77.0.1:4567\"]", "bootstrap_node_urls: []");
    let second = lab.start_from(2, &file);
    for agent in [&first, &second] {
        wait_for("the node runs", SLOW, || lab.ask(agent.number).is_some());
        assert_eq!(lab.ask(agent.number).unwrap()["peers"].as_array().unwrap().len(), 0);
    }
    (lab, [first, second], file)
}
