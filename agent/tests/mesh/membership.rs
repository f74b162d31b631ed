//! Who is a member when, and what happens to routes and sessions as nodes come and go.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::QUICK;
use crate::support::{Lab, SLOW, overlay, wait_for};
use crate::wire::Balancer;

#[test]
fn three_nodes_from_files_like_the_recorded_ones_reach_every_pair() {
    let lab = Lab::new(3);

    let _agents = [1, 2, 3].map(|number| lab.start(number, ""));

    lab.wait_for_mesh(&[1, 2, 3]);
    for number in [1, 2, 3] {
        assert_eq!(lab.ask(number).unwrap()["peers"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_fourth_node_started_later_is_reachable_from_all() {
    let lab = Lab::new(4);
    let _agents = [1, 2, 3].map(|number| lab.start(number, ""));
    lab.wait_for_mesh(&[1, 2, 3]);

    let _fourth = lab.start(4, "");

    // It knows node 1 only; the others hear of it, and it of them, by what node 1 tells.
    lab.wait_for_mesh(&[1, 2, 3, 4]);
}

#[test]
fn nodes_find_each_other_though_the_one_all_bootstrap_from_starts_last() {
    let lab = Lab::new(3);
    let third = lab.start(3, QUICK);
    let second = lab.start(2, QUICK);
    for agent in [&second, &third] {
        agent.wait_for_log(1, "failed to register at a new node");
        assert_eq!(lab.ask(agent.number).unwrap()["healthy"], false);
    }

    let _first = lab.start(1, QUICK);

    lab.wait_for_mesh(&[1, 2, 3]);
}

#[test]
fn a_load_balancer_in_front_of_three_nodes_is_enough_to_bootstrap_from() {
    let lab = Lab::new(4);
    let nodes = [1, 2, 3].map(|number| SocketAddr::from(([10, 77, 0, number], 4567)));
    let balancer = Balancer::start(&lab, 4, nodes.into());

    // Nobody has another URL, and each is led to itself now and then.
    let _nodes = [1, 2, 3].map(|number| {
        let file = lab.config(number, QUICK);
        let before = if number == 1 { "[]" } else { "[\"https://10.77.0.1:4567\"]" };
        let urls = |list: &str| format!("bootstrap_node_urls: {list}");
        lab.edit(&file, &urls(before), &urls("[\"https://10.77.0.4:4567\"]"));
        lab.start_from(number, &file)
    });

    lab.wait_for_mesh(&[1, 2, 3]);
    assert!(balancer.forwarded() >= 2, "{} connections", balancer.forwarded());
    for number in [1, 2, 3] {
        for other in [1, 2, 3].into_iter().filter(|other| *other != number) {
            let url = format!("https://10.77.0.{other}:4567");
            let known = lab.peer(number, other).unwrap()["listen_url"].clone();
            assert_eq!(known.as_str().unwrap().trim_end_matches('/'), url, "registered at the node itself");
        }
    }
}

#[test]
fn a_killed_node_loses_its_routes_at_the_stale_threshold_and_packets_to_it_are_counted() {
    let lab = Lab::new(3);
    let [_first, _second, third] = [1, 2, 3].map(|number| lab.start(number, QUICK));
    lab.wait_for_mesh(&[1, 2, 3]);

    third.kill();

    let gone = |from: usize| wait_for("the route is gone", SLOW, || lab.peer(from, 3).is_none());
    let after = gone(1);
    // It was heard of at most one registration interval (0.5 s) before it was killed, and is kept for 2 s.
    assert!(after > Duration::from_secs(1), "{after:?}");
    gone(2);
    let before = lab.drops(1, "no_route");
    assert!(!lab.pings_at(1, overlay(3), "0.2"));
    assert_eq!(lab.drops(1, "no_route"), before + 1);
    assert!(lab.pings(1, 2) && lab.pings(2, 1));
}

#[test]
fn a_restart_of_any_node_heals_and_leaves_the_session_of_the_others_alone() {
    let lab = Lab::new(3);
    let mut agents = [1, 2, 3].map(|number| Some(lab.start(number, QUICK)));
    lab.wait_for_mesh(&[1, 2, 3]);
    for restarted in [3, 2, 1] {
        let [one, other] = [[2, 3], [1, 3], [1, 2]][restarted - 1];
        let before = lab.ask(restarted).unwrap();
        let sessions = [Session::between(&lab, one, other), Session::between(&lab, other, one)];

        agents[restarted - 1].take().unwrap().kill();
        agents[restarted - 1] = Some(lab.start(restarted, QUICK));
        lab.wait_for_mesh(&[1, 2, 3]);

        let after = lab.ask(restarted).unwrap();
        assert_ne!(before["node_id"], after["node_id"]);
        assert_eq!(before["address"], after["address"]);
        for session in sessions {
            session.assert_goes_on(&lab);
        }
    }
}

#[test]
fn two_nodes_with_one_address_are_never_both_routed() {
    let lab = Lab::new(3);
    let _agents = [1, 2].map(|number| lab.start(number, QUICK));
    lab.wait_for_mesh(&[1, 2]);
    let owner = lab.peer(1, 2).unwrap()["node_id"].clone();

    let file = lab.config(3, QUICK);
    lab.edit(&file, "node_address_cidr: 192.168.129.30/26", "node_address_cidr: 192.168.129.20/26");
    let impostor = lab.start_from(3, &file);

    impostor.wait_for_log(2, "answered 409");
    assert_eq!(lab.peer(1, 2).unwrap()["node_id"], owner);
    assert_eq!(lab.ask(1).unwrap()["peers"].as_array().unwrap().len(), 1);
    assert!(lab.pings(1, 2));
}

/// The session in which `from` sends to `to`, as it was at one moment.
struct Session {
    from: usize,
    to: usize,
    node_id: Value,
    age: f64,
}

impl Session {
    fn between(lab: &Lab, from: usize, to: usize) -> Self {
        let peer = lab.peer(from, to).unwrap_or_else(|| panic!("{} is no member", overlay(to)));
        // Of sealed datagrams, or of the v0 protocol while no packet has asked for datagrams.
        let age = ["handshake_secs", "session_secs"].iter().find_map(|key| peer[*key].as_f64()).unwrap();
        Self { from, to, node_id: peer["node_id"].clone(), age }
    }

    fn assert_goes_on(&self, lab: &Lab) {
        let now = Self::between(lab, self.from, self.to);
        assert_eq!(now.node_id, self.node_id);
        assert!(now.age > self.age, "the session of node {} with node {} began anew", self.from, self.to);
    }
}
