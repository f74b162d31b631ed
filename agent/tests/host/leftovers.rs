//! What is there while an agent runs, and that nothing is left of it.

use nix::sys::signal::Signal;

use crate::support::{Lab, SLOW, wait_for};

#[test]
fn device_routes_and_table_are_gone_after_a_stop_and_after_a_kill() {
    let lab = Lab::new(1);
    // The link's own address is there once the kernel has checked that nobody else has it.
    wait_for("the network of the namespace is settled", SLOW, || !observed(&lab)[0].contains("tentative"));
    let before = observed(&lab);
    assert_eq!(before[2], "", "no nft table");
    let file = lab.config(1, "");
    lab.edit(&file, "networking:\n", "networking:\n    clamp_mss: true\n    routes: [10.200.0.0/16]\n");

    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut agent = lab.start_from(1, &file);
        wait_for("the node runs", SLOW, || lab.ask(1).is_some());
        let [addresses, routes, tables] = observed(&lab);
        assert!(addresses.contains("\"tun1\""), "{addresses}");
        assert!(routes.contains("10.200.0.0/16") && routes.contains("192.168.129.0/24"), "{routes}");
        assert!(tables.contains("table inet tunmesh") && tables.contains("tun1"), "{tables}");

        agent.signal(signal);
        agent.child.wait().unwrap();

        wait_for(&format!("everything is as before after {signal}"), SLOW, || observed(&lab) == before);
    }
}

#[test]
fn there_is_no_table_unless_the_file_asks_for_it() {
    let lab = Lab::new(1);

    let _agent = lab.start(1, "");

    wait_for("the node runs", SLOW, || lab.ask(1).is_some());
    assert_eq!(observed(&lab)[2], "");
}

/// Addresses, routes and nft tables of the namespace of node 1.
pub(crate) fn observed(lab: &Lab) -> [String; 3] {
    let commands: [&[&str]; 3] =
        [&["ip", "-j", "addr"], &["ip", "-j", "route", "show", "table", "all"], &["nft", "list", "ruleset"]];
    commands.map(|command| {
        let output = lab.run(1, command[0], &command[1..]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    })
}
