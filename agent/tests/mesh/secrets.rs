//! The cluster secret: who gets in, and how it is changed.

use std::path::PathBuf;

use crate::QUICK;
use crate::support::{Agent, Lab, SECRET};

#[test]
fn a_node_with_another_secret_never_joins() {
    let lab = Lab::new(2);
    let _first = lab.start(1, QUICK);

    let second = start(&lab, 2, NEW, "[]");

    second.wait_for_log(2, "answered 401");
    for number in [1, 2] {
        assert_eq!(lab.ask(number).unwrap()["peers"].as_array().unwrap().len(), 0);
    }
    assert!(!lab.pings(2, 1));
}

#[test]
fn a_node_that_still_signs_with_a_previous_secret_is_let_in() {
    let lab = Lab::new(2);

    // The middle of a change: both are known everywhere, and not all sign with the new one yet.
    let _first = start(&lab, 1, NEW, &format!("[{SECRET}]"));
    let _second = start(&lab, 2, SECRET, &format!("[{NEW}]"));

    lab.wait_for_mesh(&[1, 2]);
}

#[test]
fn a_new_secret_comes_in_without_an_interruption() {
    let lab = Lab::new(3);
    let agents = [1, 2].map(|number| lab.start(number, QUICK));
    lab.wait_for_mesh(&[1, 2]);
    let members = [(1, 2), (2, 1)].map(|(from, to)| lab.peer(from, to).unwrap()["node_id"].clone());

    for (secret, previous) in [(SECRET, format!("[{NEW}]")), (NEW, format!("[{SECRET}]")), (NEW, "[]".into())] {
        for agent in &agents {
            write(&lab, agent.number, secret, &previous);
            agent.reload();
            assert!(lab.pings(1, 2) && lab.pings(2, 1));
        }
    }

    let _third = start(&lab, 3, NEW, "[]");
    lab.wait_for_mesh(&[1, 2, 3]);
    assert_eq!([(1, 2), (2, 1)].map(|(from, to)| lab.peer(from, to).unwrap()["node_id"].clone()), members);
}

fn start(lab: &Lab, number: usize, secret: &str, previous: &str) -> Agent {
    let file = write(lab, number, secret, previous);
    lab.start_from(number, &file)
}

/// A file with these secrets, renamed into place, as a running node may be watching it.
fn write(lab: &Lab, number: usize, secret: &str, previous: &str) -> PathBuf {
    let auth = format!("auth: {{secret: {secret}, previous_secrets: {previous}}}");
    let text = Lab::text(number, QUICK).replace(&format!("auth: {{secret: {SECRET}}}"), &auth);
    assert!(text.contains(&auth));
    let path = lab.folder.join(format!("node{number}.yaml"));
    lab.replace(&path, &text);
    path
}

const NEW: &str = "oow7aizoo0ahZ4eegh3oeph6chooNg2ahth9Ahhu";
