//! Our agent as the client of each odd peer of the recordings: it takes the peers that the original took.
#![expect(clippy::unwrap_in_result, clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

mod replay;
mod support;

use std::sync::{Arc, Mutex};

use replay::node::{Arrival, Kind};
use replay::peer::Peer;
use replay::recording::{Secrets, client_case, client_index, text};
use replay::scene::{Scene, Stand};
use serde_json::Value;
use support::{Lab, SLOW, wait_for};

#[test]
fn every_recorded_odd_peer_is_taken_or_refused_as_by_the_original() {
    let rows = client_index();
    assert_eq!(rows.len(), 48);
    let lab = Lab::new(7);
    let secrets = Arc::new(Secrets::read());
    let (waiting, played) = (Mutex::new(rows), Mutex::new(0));

    std::thread::scope(|scope| {
        let (lab, secrets, waiting, played) = (&lab, &secrets, &waiting, &played);
        // Peers are in namespace 4, where the recorded ones were.
        for number in [1, 2, 3, 5, 6, 7] {
            scope.spawn(move || {
                while let Some(row) = { waiting.lock().unwrap().pop() } {
                    let stand = Stand::new(lab, number, secrets);
                    play(&stand, &text(&row["case"]), row["ruby_accepted_peer"] == true);
                    *played.lock().unwrap() += 1;
                }
            });
        }
    });

    assert_eq!(played.into_inner().unwrap(), 48);
}

fn play(stand: &Stand<'_>, case: &str, accepted: bool) {
    match case {
        "bootstrap_down" => bootstrap_down(stand),
        "bootstrap_lb" => bootstrap_lb(stand),
        "bootstrap_self_alias" => bootstrap_self(stand, "/"),
        "bootstrap_self_exact" => bootstrap_self(stand, ""),
        "remote_list_discovery" => remote_list_discovery(stand),
        "peer_vanishes" => peer_vanishes(stand),
        _ => {
            let scene = stand.scene(case);
            if accepted {
                scene.wait_until_listed();
            } else {
                scene.wait_for_second_attempt();
                assert!(!scene.is_listed(), "{case}: the peer is listed");
            }
            sequel(case, &scene);
            let unsigned = |arrival: &Arrival| arrival.kind != Kind::NodeInfo && !arrival.valid;
            assert!(!scene.peer.arrivals().iter().any(unsigned), "{case}: a request that is not signed as it must");
        }
    }
    stand.check_log();
}

/// What the original did next, where that is of the essence.
fn sequel(case: &str, scene: &Scene<'_>) {
    let peer = &scene.peer;
    match case {
        "batch_404" => batch_404(scene),
        "init_session_401" => {
            scene.wait("it tries again", || peer.count(Kind::InitSession) >= 2);
            assert!(scene.is_listed());
        }
        "packet_200" | "packet_500" => {
            for payload in ["one", "two", "three"] {
                scene.send(payload);
                scene.wait(payload, || payloads(peer).iter().any(|sent| sent == payload));
            }
            let lost = if case == "packet_500" { 3 } else { 0 };
            scene.wait("the answers are counted", || scene.drops("exception") == lost);
            assert_eq!(peer.count(Kind::InitSession), 1, "{case}: the session stays");
        }
        "packet_401" | "packet_404" => {
            scene.send("once");
            scene.wait("it comes again, in a new session", || peer.count(Kind::Packet) == 2);
            assert_eq!(payloads(peer), ["once", "once"]);
            assert_eq!(peer.count(Kind::InitSession), 2);
            assert_eq!(scene.drops("exception"), 0);
        }
        "packet_ok" => {
            let sent: Vec<_> = (0..61).map(|number| number.to_string()).collect();
            for payload in &sent {
                scene.send(payload);
            }
            scene.wait("all are there", || payloads(peer).len() == 61);
            assert_eq!(payloads(peer), sent, "in their order");
        }
        "packet_slow" => {
            for number in 0..10 {
                scene.send(&number.to_string());
            }
            scene.wait("each came or expired", || payloads(peer).len() as u64 + scene.drops("expired") == 10);
            assert!(scene.drops("expired") > 0);
        }
        "packet_timeout" => {
            scene.send("once");
            scene.wait("it is given up", || scene.drops("expired") == 1);
            let registered = peer.count(Kind::Reregister);
            scene.wait("the agent goes on", || peer.count(Kind::Reregister) > registered + 1);
            assert_eq!(peer.count(Kind::Packet), 1, "it is not repeated");
        }
        "register_drop_connection" => {
            let kinds: Vec<_> = peer.arrivals().iter().map(|arrival| arrival.kind).take(4).collect();
            assert_eq!(kinds, [Kind::NodeInfo, Kind::Register, Kind::Register, Kind::NodeInfo], "repeated once");
        }
        "reregister_401" => {
            scene.wait("a new session", || peer.count(Kind::InitSession) >= 2);
            assert!(position(peer, Kind::Reregister, 0) < position(peer, Kind::InitSession, 1));
        }
        "reregister_404" => {
            scene.wait("the cluster token again", || peer.count(Kind::Register) >= 2);
            assert_eq!(position(peer, Kind::Reregister, 0) + 1, position(peer, Kind::Register, 1));
        }
        "reregister_500" => {
            scene.wait("it tries again", || peer.count(Kind::Reregister) >= 2);
            assert_eq!(peer.count(Kind::InitSession), 1, "the session stays");
        }
        _ => {}
    }
}

fn batch_404(scene: &Scene<'_>) {
    // However fast the single ones go, sooner or later several wait.
    let mut sent = Vec::new();
    scene.wait("a batch is tried", || {
        for _ in 0..100 {
            let payload = sent.len().to_string();
            scene.send(&payload);
            sent.push(payload);
        }
        scene.peer.count(Kind::Batch) > 0
    });
    let singles = || -> Vec<_> {
        let arrivals = scene.peer.arrivals();
        arrivals.iter().filter(|arrival| arrival.kind == Kind::Packet).flat_map(Arrival::packets).map(payload).collect()
    };
    scene.wait("all come one by one", || singles().len() == sent.len());
    assert_eq!(singles(), sent, "in their order");
    assert_eq!(scene.peer.count(Kind::Batch), 1, "no further batch is tried");
    assert_eq!(scene.peer.count(Kind::InitSession), 1, "the session stays");
}

/// The original forgets the peer but not its address.
fn peer_vanishes(stand: &Stand<'_>) {
    let scene = stand.scene("peer_vanishes");
    scene.wait_until_listed();
    let view = scene.leave();
    wait_for("it is forgotten", SLOW, || !view.is_listed());
    view.send("to nobody");
    wait_for("the packet has nowhere to go", SLOW, || view.drops("no_route") == 1);
}

/// Nothing listens at the URL at first.
fn bootstrap_down(stand: &Stand<'_>) {
    let (member, urls) = (stand.member("a-late-peer", 4690), ["https://10.77.0.4:4690".to_owned()]);
    let view = stand.agent(&urls, "", &member);
    wait_for("the first call fails", SLOW, || view.log().contains("failed to register at a new node"));

    let _peer = stand.good_peer(&member);

    wait_for("a later call succeeds", SLOW, || view.is_listed());
}

/// The URL is that of a load balancer, which names the URL of the node itself.
fn bootstrap_lb(stand: &Stand<'_>) {
    let member = stand.member("behind-the-balancer", 4691);
    let peer = stand.good_peer(&member);
    let mut front = member.clone();
    front["listen_url"] = "https://10.77.0.4:4692".into();
    let balancer = stand.balancer(&front, &member);

    let view = stand.agent(&["https://10.77.0.4:4692".to_owned()], "", &member);

    wait_for("the node is listed", SLOW, || view.is_listed());
    assert_eq!((balancer.count(Kind::NodeInfo), balancer.count(Kind::Register)), (1, 0));
    assert!(peer.count(Kind::Register) > 0);
}

/// The original registers at itself and gets 421; ours does not call itself.
fn bootstrap_self(stand: &Stand<'_>, suffix: &str) {
    let port = if suffix.is_empty() { 4693 } else { 4694 };
    let member = stand.member("another", port);
    let _peer = stand.good_peer(&member);
    let urls = [format!("{}{suffix}", stand.own_url()), text(&member["listen_url"])];

    let view = stand.agent(&urls, "", &member);

    wait_for("the other is listed", SLOW, || view.is_listed());
    assert_eq!(view.listed().len(), 1);
    assert!(!view.log().contains("failed to register"));
}

fn remote_list_discovery(stand: &Stand<'_>) {
    let record = client_case("remote_list_discovery");
    let answer = &record["exchanges_seen_by_peer"][1]["response"]["body_text"];
    let told: Value = serde_json::from_str(&text(answer)).unwrap();
    let _second = stand.good_peer(&told["remote"][0]);

    let scene = stand.scene("remote_list_discovery");

    scene.wait("both are listed", || scene.listed().len() == 2);
}

fn payloads(peer: &Peer) -> Vec<String> {
    peer.packets().into_iter().map(payload).collect()
}

/// What follows the IPv4 and UDP headers.
fn payload(packet: Vec<u8>) -> String {
    String::from_utf8(packet[28..].to_vec()).unwrap()
}

/// Where among all requests the one of this kind and number came.
fn position(peer: &Peer, kind: Kind, number: usize) -> usize {
    let arrivals = peer.arrivals();
    arrivals.iter().enumerate().filter(|(_, arrival)| arrival.kind == kind).nth(number).unwrap().0
}
