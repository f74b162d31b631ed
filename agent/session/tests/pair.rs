//! Two nodes over virtual time: handshakes, rekeys and keepalives happen when WireGuard's do.

mod support;

use tunmesh_session::{Endpoint, Event, PeerSettings, Role, Suite, Timers};

use support::*;

#[test]
fn a_packet_that_wants_to_go_brings_up_a_session_and_arrives() {
    for suite in Suite::ALL {
        let mut world = World::new(2, suite, 1);
        world.send(0, 1, b"hello");
        world.run(millis(25));
        assert!(world.nodes[1].received.is_empty() && world.nodes[0].sendable.contains_key(&id(1)));
        world.run(millis(10));

        assert_eq!(world.nodes[1].received, [(id(0), b"hello".to_vec())]);
        assert_eq!(
            world.sent.iter().map(|(from, _, datagram)| (*from, datagram[0])).collect::<Vec<_>>(),
            [(0, 1), (1, 2), (0, 4), (0, 4)]
        );
        world.send(1, 0, b"back");
        world.run(millis(10));
        assert_eq!(world.nodes[0].received, [(id(1), b"back".to_vec())]);
        let handshakes = [world.nodes[0].handshakes(1), world.nodes[1].handshakes(0)];
        assert_eq!(handshakes, [1, 1]);
    }
}

#[test]
fn each_side_is_told_its_role_and_where_the_other_is() {
    let mut world = World::new(2, Suite::Aegis, 2);
    world.connect(0, 1);
    world.run(secs(1));

    for (node, other, expected) in [(0, 1, Role::Initiator), (1, 0, Role::Responder)] {
        let Event::Established { peer, role, source, .. } = &world.nodes[node].events[0] else { panic!() };
        assert_eq!((*peer, *role, *source), (id(other), expected, address(other)));
    }
}

#[test]
fn a_responder_does_not_send_before_the_session_is_used() {
    let mut world = World::new(2, Suite::Aegis, 3);
    world.connect(0, 1);
    world.run(millis(20));
    let told: Vec<_> = world.nodes[1].events.iter().map(kind).collect();
    assert_eq!(told, ["established"]);
    world.run(millis(10));

    let told: Vec<_> = world.nodes[1].events.iter().map(kind).collect();
    assert_eq!(told, ["established", "sendable"]);
}

#[test]
fn a_responder_that_is_not_told_finds_out_that_the_session_is_used() {
    let mut world = World::new(2, Suite::Aegis, 4);
    world.connect(0, 1);
    world.run(millis(25));
    let mut keepalive = world.sent.last().unwrap().2.clone();
    let session = world.nodes[1].sessions.values().next().unwrap().clone();
    session.opening().open(&mut keepalive).unwrap();
    world.run(secs(2));

    assert!(world.nodes[1].sendable.contains_key(&id(0)));
}

#[test]
fn both_starting_at_once_end_with_sessions_to_send_on() {
    for suite in Suite::ALL {
        let mut world = World::new(2, suite, 5);
        world.send(0, 1, b"from 0");
        world.send(1, 0, b"from 1");
        world.run(secs(1));
        assert_eq!(world.nodes[0].received, [(id(1), b"from 1".to_vec())]);
        assert_eq!(world.nodes[1].received, [(id(0), b"from 0".to_vec())]);

        let before = world.sent.len();
        world.send(0, 1, b"again 0");
        world.send(1, 0, b"again 1");
        world.run(secs(1));
        assert_eq!(
            (world.sent.len() - before, world.nodes[0].received.len(), world.nodes[1].received.len()),
            (2, 2, 2)
        );
    }
}

#[test]
fn ends_that_started_at_once_do_not_keep_making_twice_the_handshakes() {
    let mut world = World::new(2, Suite::Aegis, 6);
    world.send(0, 1, b"x");
    world.send(1, 0, b"x");
    busy(&mut world, 1200);

    let initiations = world.sent.iter().filter(|(_, _, datagram)| datagram[0] == 1).count();
    assert!((10..=13).contains(&initiations), "{initiations} initiations in ten lives of a session");
}

#[test]
fn a_busy_session_is_replaced_every_120_seconds_by_its_initiator_without_a_gap() {
    for suite in Suite::ALL {
        let mut world = World::new(2, suite, 7);
        world.connect(0, 1);
        world.run(secs(1));
        let sent = busy(&mut world, 1230);

        assert_eq!(world.nodes[1].received.len(), sent);
        assert_eq!(world.nodes[0].received.len(), sent);
        let initiations: Vec<_> = world.sent.iter().filter(|(_, _, datagram)| datagram[0] == 1).collect();
        assert!(initiations.iter().all(|(from, _, _)| *from == 0));
        assert_eq!(initiations.len(), 11);
        assert_eq!([world.nodes[0].handshakes(1), world.nodes[1].handshakes(0)], [11, 11]);
    }
}

#[test]
fn a_session_that_is_only_received_on_late_in_its_life_is_replaced_in_time() {
    let mut world = World::new(2, Suite::Aegis, 17);
    world.connect(0, 1);
    world.run(secs(170));
    assert_eq!(world.nodes[0].handshakes(1), 1);
    world.send(1, 0, b"x");
    world.run(secs(2));

    assert_eq!(world.nodes[0].handshakes(1), 2);
}

#[test]
fn a_session_is_replaced_after_2_to_the_60_messages_by_whoever_sent_them() {
    for worn in [0, 1] {
        let mut world = World::new(2, Suite::Aegis, 18);
        world.connect(0, 1);
        world.run(secs(1));
        world.nodes[worn].sendable[&id(1 - worn)].reserve(1 << 60).unwrap();
        world.run(secs(10));

        assert_eq!([world.nodes[0].handshakes(1), world.nodes[1].handshakes(0)], [2, 2], "node {worn}");
        let session = world.nodes[worn].sendable[&id(1 - worn)].clone();
        world.run(secs(6));
        assert_eq!(session.reserve(1 << 60).map(|first| first < 10), Some(true));
        world.connect(worn, 1 - worn);
        world.run(millis(50));
        assert_eq!(world.nodes[worn].handshakes(1 - worn), 3, "a packet that wants to go does not wait for that");
    }
}

#[test]
fn an_idle_session_is_not_replaced_and_ends_after_180_seconds() {
    let mut world = World::new(2, Suite::ChaChaPoly, 8);
    world.send(0, 1, b"once");
    world.run(secs(180));
    assert_eq!([world.nodes[0].sessions.len(), world.nodes[1].sessions.len()], [1, 1]);
    world.run(secs(1));

    assert!(world.nodes.iter().all(|node| node.sessions.is_empty() && node.sendable.is_empty()));
    assert!(world.nodes.iter().all(|node| node.endpoint.poll_timeout().is_none()));
    assert_eq!(world.nodes[0].handshakes(1), 1);
}

#[test]
fn data_is_answered_with_a_keepalive_after_10_seconds_of_silence() {
    let mut world = World::new(2, Suite::Aegis, 9);
    world.send(0, 1, b"x");
    world.run(secs(10));
    let before = world.sent.len();
    world.run(millis(40));

    let keepalives: Vec<_> = world.sent[before..].iter().map(|(from, _, datagram)| (*from, datagram.len())).collect();
    assert_eq!(keepalives, [(1, 32)]);
    world.run(secs(60));
    assert_eq!(world.sent.len(), before + 1);
}

#[test]
fn a_peer_that_lost_its_session_is_asked_again_15_seconds_after_data_goes_unanswered() {
    let mut world = World::new(2, Suite::Aegis, 10);
    world.send(0, 1, b"before");
    world.run(secs(20));
    world.restart(1, Suite::Aegis);
    world.send(0, 1, b"lost");
    world.run(millis(14_990));
    assert_eq!(world.nodes[0].handshakes(1), 1);
    world.run(secs(1));

    assert_eq!(world.nodes[0].handshakes(1), 2);
    world.send(0, 1, b"after");
    world.run(secs(1));
    assert_eq!(world.nodes[1].received, [(id(0), b"after".to_vec())]);
}

#[test]
fn a_node_that_was_restarted_connects_at_once() {
    let mut world = World::new(2, Suite::ChaChaPoly, 11);
    world.send(0, 1, b"before");
    world.run(secs(20));
    world.restart(0, Suite::ChaChaPoly);
    world.send(0, 1, b"after");
    world.run(secs(1));

    assert_eq!(world.nodes[1].received.last(), Some(&(id(0), b"after".to_vec())));
    world.send(1, 0, b"back");
    world.run(secs(1));
    assert_eq!(world.nodes[0].received, [(id(1), b"back".to_vec())]);
}

#[test]
fn a_peer_that_never_answers_is_given_up_after_90_seconds_and_can_be_tried_again() {
    let mut world = World::new(2, Suite::Aegis, 12);
    world.link.loss = 100;
    world.send(0, 1, b"x");
    world.run(secs(89));
    assert!(world.nodes[0].events.is_empty());
    world.run(secs(1));
    assert_eq!(world.nodes[0].events.iter().map(kind).collect::<Vec<_>>(), ["unreachable"]);
    assert!((17..=18).contains(&world.sent.len()), "{} initiations", world.sent.len());
    world.run(secs(1000));
    assert!(world.sent.len() <= 18 && world.nodes[0].endpoint.poll_timeout().is_none());

    world.link.loss = 0;
    world.send(0, 1, b"y");
    world.run(secs(1));
    assert_eq!(world.nodes[1].received, [(id(0), b"y".to_vec())]);
}

#[test]
fn with_a_keepalive_there_is_always_a_session_and_the_silence_is_never_longer() {
    let mut world = World::new(2, Suite::Aegis, 13);
    let mut settings = settings(1, Suite::Aegis);
    settings.keepalive = Some(secs(25));
    world.nodes[0].endpoint.update_peer(id(1), settings).unwrap();
    world.run(secs(1));
    assert!(world.nodes[0].sendable.contains_key(&id(1)));
    for _ in 0..40 {
        let before = world.sent.len();
        world.run(secs(26));
        assert!(world.sent.len() > before);
        assert!(world.nodes[0].sendable.contains_key(&id(1)));
    }
}

#[test]
fn a_keepalive_is_sent_however_much_comes_in_as_a_nat_may_go_by_what_goes_out_alone() {
    let mut world = World::new(2, Suite::Aegis, 13);
    let keepalive = |peer| PeerSettings { keepalive: Some(secs(25)), ..settings(peer, Suite::Aegis) };
    world.nodes[0].endpoint.update_peer(id(1), keepalive(1)).unwrap();
    world.nodes[1].endpoint.update_peer(id(0), PeerSettings { keepalive: Some(secs(5)), ..keepalive(0) }).unwrap();
    world.run(secs(60));

    for _ in 0..10 {
        let before = world.sent.len();
        world.run(secs(26));
        assert!(world.sent[before..].iter().any(|(from, ..)| *from == 0));
    }
}

#[test]
fn a_peer_with_a_keepalive_is_tried_for_ever() {
    let mut world = World::new(2, Suite::Aegis, 14);
    let mut settings = settings(1, Suite::Aegis);
    settings.keepalive = Some(secs(25));
    world.nodes[0].endpoint.update_peer(id(1), settings).unwrap();
    world.link.loss = 100;
    world.run(secs(1000));
    let given_up = world.nodes[0].events.iter().filter(|event| matches!(event, Event::Unreachable { .. })).count();
    assert!(given_up >= 8, "{given_up}");
    world.link.loss = 0;
    world.run(secs(40));

    assert!(world.nodes[0].sendable.contains_key(&id(1)));
}

#[test]
fn a_new_preshared_key_leaves_the_session_and_counts_from_the_next_handshake() {
    let mut world = World::new(2, Suite::Aegis, 15);
    world.send(0, 1, b"x");
    world.run(secs(1));
    let mut changed = settings(1, Suite::Aegis);
    changed.preshared_key = None;
    world.nodes[0].endpoint.update_peer(id(1), changed).unwrap();
    world.send(0, 1, b"y");
    world.run(secs(200));
    assert_eq!(world.nodes[1].received.len(), 2);
    world.send(0, 1, b"z");
    world.run(secs(4));
    assert_eq!((world.nodes[1].received.len(), world.nodes[0].handshakes(1)), (2, 1));

    let mut changed = settings(0, Suite::Aegis);
    changed.preshared_key = None;
    world.nodes[1].endpoint.update_peer(id(0), changed).unwrap();
    world.run(secs(5));
    assert_eq!(world.nodes[1].received.last(), Some(&(id(0), b"z".to_vec())));
}

#[test]
fn a_removed_peer_has_its_sessions_ended_and_is_unknown() {
    let mut world = World::new(2, Suite::Aegis, 16);
    world.send(0, 1, b"x");
    world.run(secs(1));
    let session = world.nodes[1].sendable[&id(0)].clone();
    world.nodes[1].endpoint.remove_peer(id(0));
    world.run(secs(1));

    assert_eq!(world.nodes[1].events.last().map(kind), Some("retired"));
    assert!(session.reserve(1).is_none() && world.nodes[1].sessions.is_empty());
    assert!(world.nodes[1].endpoint.status(id(0)).is_none() && world.nodes[1].endpoint.poll_timeout().is_none());
    world.nodes[1].endpoint.insert_peer(id(0), settings(0, Suite::Aegis)).unwrap();
    world.send(1, 0, b"again");
    world.run(secs(1));
    assert_eq!(world.nodes[0].received.last(), Some(&(id(1), b"again".to_vec())));
}

#[test]
fn shortened_timers_count() {
    let timers = Timers { rekey_attempt_time: secs(2), rekey_timeout: millis(300), ..Timers::default() };
    let mut world = World::new(2, Suite::Aegis, 19);
    let clocks = world.clocks();
    let mut endpoint = Endpoint::with_timers(private(7), clocks.instant, [1; 32], timers);
    endpoint.insert_peer(id(1), settings(1, Suite::Aegis)).unwrap();
    world.nodes[0].endpoint = endpoint;
    world.connect(0, 1);
    world.run(secs(3));

    assert!((6..=7).contains(&world.sent.len()), "{} initiations", world.sent.len());
    assert_eq!(world.nodes[0].events.iter().map(kind).collect::<Vec<_>>(), ["unreachable"]);
}

/// Both send a packet every 100 ms; returns how many each.
fn busy(world: &mut World, seconds: usize) -> usize {
    for _ in 0..seconds * 10 {
        world.send(0, 1, b"from 0");
        world.send(1, 0, b"from 1");
        world.run(millis(100));
    }
    world.run(millis(100));
    seconds * 10
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Established { .. } => "established",
        Event::Keepalive { .. } => "keepalive",
        Event::Retired { .. } => "retired",
        Event::Sendable { .. } => "sendable",
        Event::Unreachable { .. } => "unreachable",
    }
}
