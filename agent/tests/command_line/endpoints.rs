//! The open routes of a running node, against those recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use serde_json::Value;

use crate::exposition::{Family, parse};
use crate::recorded;
use crate::support::{Agent, Lab, SLOW, https, wait_for};

#[test]
fn metrics_have_every_recorded_name_with_its_type_and_ours_have_our_prefix() {
    let (lab, _agents) = busy_pair();

    let (status, text) = https::get(lab.netns(2), 1, "/metrics");

    assert_eq!(status, 200);
    let (ours, theirs) = (parse(&text), recorded_metrics());
    assert!(theirs.len() >= 15, "{theirs:?}");
    for (name, (kind, help)) in &theirs {
        let family: &Family = ours.get(name).unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        assert_eq!((&family.kind, &family.help), (kind, help), "{name}");
    }
    let own: Vec<_> = ours.keys().filter(|name| !theirs.contains_key(*name)).collect();
    assert!(!own.is_empty() && own.iter().all(|name| name.starts_with("tunmesh_")), "{own:?}");

    let id = lab.ask(1).unwrap()["node_id"].clone();
    for sample in ours.values().flat_map(|family| &family.samples) {
        assert_eq!(sample.labels["node_id"], id.as_str().unwrap(), "{sample:?}");
        assert_eq!(sample.labels["env_name"], "local \"test\"", "{sample:?}");
    }
}

#[test]
fn metrics_have_the_recorded_labels() {
    let (lab, _agents) = busy_pair();

    let ours = parse(&https::get(lab.netns(2), 1, "/metrics").1);

    let text = recorded_metrics_text();
    let labels_of = |line: &str| -> BTreeSet<String> {
        let inner = line.split_once('{').unwrap().1.split_once('}').unwrap().0;
        inner.split(',').map(|pair| pair.split_once('=').unwrap().0.to_owned()).collect()
    };
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split_once('{').unwrap().0;
        let mut samples = ours.values().flat_map(|family| &family.samples);
        let sample = samples.find(|sample| sample.name == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(sample.labels.keys().cloned().collect::<BTreeSet<_>>(), labels_of(line), "{name}");
    }
}

#[test]
fn metrics_count_what_passed() {
    let (lab, _agents) = busy_pair();
    let value = |name: &str| parse(&https::get(lab.netns(2), 1, "/metrics").1)[name].samples[0].value;
    let before = value("remote_tx_packets");

    assert!(lab.pings(1, 2));

    assert_eq!(value("remote_tx_packets"), before + 1.0);
    assert_eq!(value("tunmesh_members"), 1.0);
}

#[test]
fn there_are_no_metrics_where_the_file_asks_for_none() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    lab.edit(&file, "monitoring: {method: prometheus}", "monitoring: {method: none}");
    let _agent = lab.start_from(1, &file);
    wait_for("the node runs", SLOW, || lab.ask(1).is_some());

    assert_eq!(https::get(lab.netns(1), 1, "/metrics").0, 404);
}

#[test]
fn health_has_the_recorded_keys_and_one_of_ours() {
    let (lab, _agents) = busy_pair();
    let record: Value = serde_json::from_str(&recorded("endpoints/09_health.json")).unwrap();
    let theirs: Value = serde_json::from_str(record["response"]["body_text"].as_str().unwrap()).unwrap();

    let (status, text) = https::get(lab.netns(2), 1, "/health");

    assert_eq!(status, 200);
    let mut ours: Value = serde_json::from_str(&text).unwrap();
    let own = ours.as_object_mut().unwrap().remove("tunmesh").unwrap();
    assert_eq!(own["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(own["members"], 1);
    assert_eq!(ours, theirs, "all is well, as in the record");
}

#[test]
fn a_node_whose_device_was_taken_down_is_unhealthy_until_it_is_up_again() {
    let lab = Lab::new(2);
    let agents = [1, 2].map(|number| lab.start(number, ""));
    lab.wait_for_mesh(&[1, 2]);
    let health = || {
        let (status, text) = https::get(lab.netns(2), 1, "/health");
        (status, serde_json::from_str::<Value>(&text).unwrap()["router"]["tun"].clone())
    };
    assert_eq!(health(), (200, true.into()));

    assert!(lab.run(1, "ip", &["link", "set", "tun1", "down"]).status.success());
    assert_eq!(health(), (503, false.into()));

    assert!(lab.run(1, "ip", &["link", "set", "tun1", "up"]).status.success());
    assert_eq!(health(), (200, true.into()));
    drop(agents);
}

#[test]
fn a_node_without_members_is_unhealthy_with_the_same_keys() {
    let lab = Lab::new(1);
    let _agent = lab.start(1, "");
    wait_for("the node runs", SLOW, || lab.ask(1).is_some());

    let (status, text) = https::get(lab.netns(1), 1, "/health");

    assert_eq!(status, 503);
    let health: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(health["registrations"]["registered"], false);
    assert_eq!(health["registrations"]["worker"], true);
}

#[test]
fn a_node_is_ready_once_it_has_called_all_it_knows_of_and_its_device_is_up() {
    let lab = Lab::new(2);
    let ready = |wait| lab.run(2, env!("CARGO_BIN_EXE_tunmesh"), &["ready", "--wait", wait]).status.success();
    assert!(!ready("0s"), "nobody is there");
    // The node it is to call is not there, so it is alone.
    let _agent = lab.start(2, "");

    assert!(ready("30s"));
    assert_eq!(https::get(lab.netns(2), 2, "/ready"), (200, "{\"ready\":true}".to_owned()));

    assert!(lab.run(2, "ip", &["link", "set", "tun1", "down"]).status.success());
    assert!(!ready("0s"));
    assert_eq!(https::get(lab.netns(2), 2, "/ready"), (503, "{\"ready\":false}".to_owned()));
}

#[test]
fn the_address_to_advertise_can_be_given_at_the_start() {
    let lab = Lab::new(2);
    let file = lab.config(1, "");
    lab.edit(&file, "advertise_url: https://10.77.0.1:4567", "advertise_url: https://pod.invalid:4567");
    let binary = lab.binary();
    let command = ["env", "TUNMESH_ADVERTISE_ADDRESS=10.77.0.1", &binary];

    let agent = lab.start_by(1, &command, Stdio::null(), &file);
    let _second = lab.start(2, "");

    lab.wait_for_mesh(&[1, 2]);
    assert_eq!(lab.ask(1).unwrap()["listen_url"], "https://10.77.0.1:4567");
    agent.reload();
    assert_eq!(lab.ask(1).unwrap()["listen_url"], "https://10.77.0.1:4567");
}

/// Two nodes with metrics per node, that have exchanged packets and dropped one.
fn busy_pair() -> (Lab, [Agent; 2]) {
    let lab = Lab::new(2);
    let agents = [1, 2].map(|number| {
        let file = lab.config_v0(number, "");
        let monitoring = "monitoring: {method: prometheus, enable_node_packet_metrics: true, \
                          prometheus: {base_labels: {env_name: 'local \"test\"'}}}";
        lab.edit(&file, "monitoring: {method: prometheus}", monitoring);
        lab.start_from(number, &file)
    });
    lab.wait_for_mesh(&[1, 2]);
    assert!(!lab.pings_at(1, [192, 168, 129, 99].into(), "0.1"));
    wait_for("the drop is counted", SLOW, || lab.drops(1, "no_route") > 0);
    (lab, agents)
}

/// Type and help by name.
fn recorded_metrics() -> BTreeMap<String, (String, String)> {
    let text = recorded_metrics_text();
    let find = |keyword: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(keyword)?.split_once(' '));
        lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
    };
    let help = find("# HELP ");
    find("# TYPE ").into_iter().map(|(name, kind)| (name.clone(), (kind, help[&name].clone()))).collect()
}

fn recorded_metrics_text() -> String {
    let record: Value = serde_json::from_str(&recorded("endpoints/10_metrics.json")).unwrap();
    record["response"]["body_text"].as_str().unwrap().to_owned()
}
