//! `tunmesh check` and `tunmesh status` in a mesh of real agents.

use serde_json::Value;

use crate::QUICK;
use crate::support::{Lab, SECRET, SLOW, overlay, wait_for};

#[test]
fn a_healthy_mesh_has_no_error_and_its_status_says_how_packets_go() {
    let lab = Lab::new(2);
    let _agents = [1, 2].map(|number| lab.start(number, QUICK));
    lab.wait_for_mesh(&[1, 2]);

    for number in [1, 2] {
        let (code, findings) = check(&lab, number);
        let errors: Vec<_> = findings.iter().filter(|finding| finding["level"] == "error").collect();
        assert_eq!((code, errors.len()), (0, 0), "{findings:#?}");
    }

    let measured = || lab.peer(1, 2).is_some_and(|peer| peer["loss_percent"].is_number());
    wait_for("pings are answered", SLOW, || {
        lab.pings(1, 2);
        measured()
    });
    let status = lab.ask(1).unwrap();
    let peer = &status["peers"][0];
    assert_eq!((&peer["path"], &peer["gossip"]), (&"udp".into(), &"alive".into()), "{peer:#}");
    assert!(["aegis", "chachapoly"].contains(&peer["suite"].as_str().unwrap()));
    assert_eq!(peer["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(peer["endpoint"], "10.77.0.2:4567");
    assert_eq!(peer["largest_packet"], 1420);
    assert!(peer["handshake_secs"].is_number() && peer["round_trip_micros"].as_u64().unwrap() > 0, "{peer:#}");
    assert_eq!(status["datagrams"]["endpoints"][0], "10.77.0.1:4567");
    assert_eq!(status["datagrams"]["port"], 4567);
    assert_eq!(status["gossip"]["members"], 1);
    assert!(status["packet_threads"].as_u64().unwrap() > 0);
}

#[test]
fn another_secret_is_found_on_both_sides() {
    let lab = Lab::new(2);
    let _first = lab.start(1, QUICK);
    let file = lab.config(2, QUICK);
    lab.edit(&file, SECRET, "oow7aizoo0ahZ4eegh3oeph6chooNg2ahth9Ahhu");
    let second = lab.start_from(2, &file);
    second.wait_for_log(1, "answered 401");

    let (code, findings) = check(&lab, 2);
    assert_eq!(code, 1);
    let refused = find(&findings, "TM0011").expect("we are refused");
    assert!(refused["found"].as_str().unwrap().contains("https://10.77.0.1:4567"), "{refused}");
    assert!(find(&findings, "TM0013").expect("nobody is known")["found"].as_str().unwrap().contains("can be reached"));

    let (code, findings) = check(&lab, 1);
    assert_eq!(code, 1);
    assert!(find(&findings, "TM0011").expect("a request is refused")["found"].as_str().unwrap().contains("signed"));
}

#[test]
fn blocked_datagrams_and_a_stolen_route_are_found() {
    let lab = Lab::new(2);
    let _agents = [1, 2].map(|number| lab.start(number, QUICK));
    lab.wait_for_mesh(&[1, 2]);

    let rules = "table inet test { chain in { type filter hook input priority 0; udp dport 4567 drop; }
        chain out { type filter hook output priority 0; udp dport 4567 drop; }; }";
    assert!(lab.run(2, "nft", &[rules]).status.success());
    assert!(lab.run(1, "ip", &["route", "add", "192.168.129.128/26", "via", "10.77.0.2"]).status.success());
    wait_for("packets go another way", SLOW, || {
        lab.pings_at(1, overlay(2), "0.2");
        lab.peer(1, 2).is_some_and(|peer| peer["path"] != "udp")
    });

    let (code, findings) = check(&lab, 1);
    assert_eq!(code, 1, "{findings:#?}");
    assert!(
        find(&findings, "TM0006").expect("datagrams are blocked")["found"].as_str().unwrap().contains("10.77.0.2:4567")
    );
    let overlap = find(&findings, "TM0009").expect("a route overlaps");
    assert!(overlap["found"].as_str().unwrap().starts_with("route 192.168.129.128/26 through "), "{overlap}");
}

#[test]
fn an_address_that_two_nodes_have_and_a_small_network_are_found() {
    let lab = Lab::new(3);
    let _agents = [1, 2].map(|number| lab.start(number, QUICK));
    lab.wait_for_mesh(&[1, 2]);
    let file = lab.config(3, QUICK);
    lab.edit(&file, &overlay(3).to_string(), &overlay(2).to_string());
    let third = lab.start_from(3, &file);
    third.wait_for_log(1, "answered 409");
    for number in [1, 2] {
        lab.run(number, "ip", &["link", "set", "eth0", "mtu", "1400"]);
    }

    let (code, findings) = check(&lab, 1);

    assert_eq!(code, 1, "{findings:#?}");
    let contested = find(&findings, "TM0008").expect("an address is contested");
    let holder = lab.peer(1, 2).unwrap()["node_id"].as_str().unwrap().to_owned();
    let expected = format!("{} is held by {holder} and claimed by ", overlay(2));
    assert!(contested["found"].as_str().unwrap().starts_with(&expected), "{contested}");
    assert_eq!(find(&findings, "TM0014").expect("the network is small")["level"], "warning");
}

#[test]
fn without_a_node_the_file_and_the_bootstrap_urls_are_looked_at() {
    let lab = Lab::new(2);
    lab.config(2, "");

    let (code, findings) = check(&lab, 2);

    assert_eq!(code, 1);
    let codes: Vec<_> = findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    let expected = ["TM0004", "TM0013"];
    assert!(expected.iter().all(|code| codes.contains(code)) && codes.is_sorted(), "{codes:?}");
    let unreachable = find(&findings, "TM0013").unwrap();
    assert!(unreachable["found"].as_str().unwrap().contains("refused"), "{unreachable}");
}

/// Exit status and findings of `tunmesh check` in the namespace of node `number`, with its file.
fn check(lab: &Lab, number: usize) -> (i32, Vec<Value>) {
    let file = lab.folder.join(format!("node{number}.yaml"));
    let output =
        lab.run(number, env!("CARGO_BIN_EXE_tunmesh"), &["check", "--json", "--config", file.to_str().unwrap()]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code().unwrap(), document["findings"].as_array().unwrap().clone())
}

fn find<'a>(findings: &'a [Value], code: &str) -> Option<&'a Value> {
    findings.iter().find(|finding| finding["code"] == code)
}
