//! What must not get through: strangers, repetitions, floods, the other suite, altered bytes.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod support;

use tunmesh_session::{Endpoint, OpenError, PeerError, PeerSettings, Refusal, Suite};

use support::*;

#[test]
fn a_stranger_gets_no_answer() {
    let mut world = World::new(2, Suite::Aegis, 1);
    world.nodes[1].endpoint.remove_peer(id(0));
    world.connect(0, 1);
    world.run(secs(1));

    assert_eq!(world.sent.len(), 1);
    assert_eq!(world.nodes[1].refusals, [Refusal::UnknownPeer]);
}

#[test]
fn the_suites_never_mix() {
    for suite in Suite::ALL {
        let [other] = Suite::ALL.into_iter().filter(|other| *other != suite).collect::<Vec<_>>()[..] else { panic!() };
        let mut world = World::new(2, suite, 2);
        world.nodes[1].endpoint.update_peer(id(0), settings(0, other)).unwrap();
        world.connect(0, 1);
        world.run(secs(1));

        assert_eq!((world.sent.len(), &world.nodes[1].refusals[..]), (1, &[Refusal::WrongSuite][..]), "{suite:?}");
        world.connect(1, 0);
        world.run(secs(1));
        assert_eq!((world.sent.len(), &world.nodes[0].refusals[..]), (2, &[Refusal::WrongSuite][..]), "{suite:?}");
    }
}

#[test]
fn a_node_has_peers_of_both_suites() {
    let mut world = World::new(3, Suite::Aegis, 3);
    world.nodes[2].endpoint.update_peer(id(0), settings(0, Suite::ChaChaPoly)).unwrap();
    world.nodes[0].endpoint.update_peer(id(2), settings(2, Suite::ChaChaPoly)).unwrap();
    world.send(1, 0, b"from 1");
    world.send(2, 0, b"from 2");
    world.run(secs(1));

    assert_eq!(world.nodes[0].received, [(id(1), b"from 1".to_vec()), (id(2), b"from 2".to_vec())]);
}

#[test]
fn an_initiation_is_heeded_once_even_after_newer_ones() {
    let mut world = World::new(2, Suite::ChaChaPoly, 4);
    world.connect(0, 1);
    world.run(secs(1));
    let first = world.sent[0].2.clone();
    world.deliver(0, 1, first.clone());
    world.restart(0, Suite::ChaChaPoly);
    world.connect(0, 1);
    world.run(secs(1));
    world.deliver(0, 1, first);

    assert_eq!(world.nodes[1].refusals, [Refusal::Replayed, Refusal::Replayed]);
    assert_eq!(world.responses(1), 2);
}

#[test]
fn an_initiation_is_heeded_once_even_if_its_sender_was_forgotten_meanwhile_or_has_another_suite_for_a_while() {
    let mut world = World::new(2, Suite::Aegis, 4);
    world.connect(0, 1);
    world.run(secs(1));
    let first = world.sent[0].2.clone();

    world.nodes[1].endpoint.remove_peer(id(0));
    world.nodes[1].endpoint.insert_peer(id(7), settings(0, Suite::Aegis)).unwrap();
    world.deliver(0, 1, first.clone());
    for suite in [Suite::ChaChaPoly, Suite::Aegis] {
        world.nodes[1].endpoint.update_peer(id(7), settings(0, suite)).unwrap();
    }
    world.deliver(0, 1, first);

    assert_eq!(world.nodes[1].refusals, [Refusal::Replayed, Refusal::Replayed]);
    assert_eq!(world.responses(1), 1);
}

#[test]
fn a_peer_is_answered_at_most_20_times_a_second() {
    let mut world = World::new(2, Suite::Aegis, 5);
    for _ in 0..100 {
        world.restart(0, Suite::Aegis);
        world.connect(0, 1);
        world.run(millis(20));
    }

    let (responses, refusals) = (world.responses(1), &world.nodes[1].refusals);
    assert!((30..=40).contains(&responses), "{responses} in 2 s");
    assert_eq!(refusals.len() + responses, 100);
    assert!(refusals.iter().all(|reason| *reason == Refusal::PeerTooFast), "{refusals:?}");
}

#[test]
fn no_altered_handshake_message_is_heeded_and_the_genuine_one_still_is() {
    for suite in Suite::ALL {
        let mut world = World::new(2, suite, 6);
        world.connect(0, 1);
        let initiation = world.sent[0].2.clone();
        for altered in each_altered(&initiation, 132) {
            world.deliver(0, 1, altered);
        }
        assert_eq!((world.sent.len(), world.nodes[1].refusals.len()), (1, 132));
        world.deliver(0, 1, initiation);
        let response = world.sent[1].2.clone();
        for altered in each_altered(&response, 76) {
            world.deliver(1, 0, altered);
        }
        assert_eq!((world.sent.len(), world.nodes[0].refusals.len()), (2, 76));
        world.deliver(1, 0, response.clone());
        assert!(world.nodes[0].sendable.contains_key(&id(1)));
        world.deliver(1, 0, response);
        assert_eq!(world.nodes[0].refusals.last(), Some(&Refusal::UnknownIndex));
    }
}

#[test]
fn arbitrary_datagrams_do_no_harm() {
    let mut world = World::new(2, Suite::Aegis, 7);
    for length in (0..200).chain([1000, 65535]) {
        for kind in 0..=5 {
            let mut datagram: Vec<u8> = (0..length).map(|_| world.chance().next() as u8).collect();
            datagram.iter_mut().zip([kind, 0, 0, 0]).for_each(|(byte, value)| *byte = value);
            let clocks = world.clocks();
            assert!(world.nodes[0].endpoint.handle_datagram(clocks, address(1), &datagram).is_err());
            world.deliver(1, 0, datagram);
        }
    }
    assert!(world.sent.is_empty());
}

#[test]
fn a_packet_of_another_pair_does_not_open() {
    let mut world = World::new(3, Suite::Aegis, 8);
    for (from, to) in [(0, 1), (0, 2), (1, 2)] {
        world.send(from, to, b"x");
    }
    world.run(secs(1));
    let stranger = world.nodes[1].sendable[&id(2)].clone();
    let target = world.nodes[0].sessions.values().find(|session| session.peer() == id(2)).unwrap().clone();
    let mut datagram = seal(&stranger, b"for 2").unwrap();

    assert_eq!(target.opening().open(&mut datagram), Err(OpenError::WrongIndex));
    let mut datagram = seal(&stranger, b"for 2").unwrap();
    datagram[4..8].copy_from_slice(&target.local_index().to_le_bytes());
    assert_eq!(target.opening().open(&mut datagram), Err(OpenError::Forged));
}

#[test]
fn under_load_only_those_who_show_their_cookie_are_answered() {
    for suite in Suite::ALL {
        let mut world = World::new(3, suite, 9);
        flood(&mut world);
        let before = world.sent.len();
        world.connect(1, 0);
        world.run(millis(100));

        let kinds: Vec<_> = world.sent[before..].iter().map(|(from, _, datagram)| (*from, datagram[0])).collect();
        assert_eq!(kinds, [(1, 1), (0, 3)], "{suite:?}");
        assert_eq!(world.nodes[1].refusals, [], "the cookie is taken");
        assert!(!world.nodes[1].sendable.contains_key(&id(0)));
        world.run(millis(4500));
        flood(&mut world);
        world.run(secs(1));
        assert!(world.nodes[1].sendable.contains_key(&id(0)), "with the cookie it is answered");
        assert_eq!(world.nodes[1].handshakes(0), 1);
    }
}

#[test]
fn a_cookie_of_somebody_else_is_not_taken() {
    let mut world = World::new(3, Suite::Aegis, 10);
    flood(&mut world);
    let before = world.sent.len();
    world.connect(1, 0);
    world.run(millis(15));
    let mut cookie = world.sent[before + 1].2.clone();
    assert_eq!(cookie[0], 3);
    cookie[40] ^= 1;
    world.deliver(0, 1, cookie);

    assert_eq!(world.nodes[1].refusals, [Refusal::Forged]);
}

#[test]
fn a_flood_from_one_address_with_its_cookie_is_answered_20_times_a_second() {
    let mut world = World::new(3, Suite::Aegis, 11);
    flood(&mut world);
    world.connect(1, 0);
    world.run(millis(4_990));
    flood(&mut world);
    let before = world.sent.len();
    world.run(millis(500));
    let (from, to, shown) = world.sent[before].clone();
    assert_eq!((from, to, shown[0]), (1, 0, 1));
    let before = world.nodes[0].refusals.len();
    for _ in 0..100 {
        world.deliver(1, 0, shown.clone());
    }

    let refused = &world.nodes[0].refusals[before..];
    let count = |reason| refused.iter().filter(|refusal| **refusal == reason).count();
    assert_eq!((count(Refusal::SourceTooFast), count(Refusal::Replayed)), (100 - 19, 19));
}

#[test]
fn no_two_peers_share_a_key_or_an_id_and_none_is_the_node_itself() {
    let mut world = World::new(3, Suite::Aegis, 12);
    let endpoint: &mut Endpoint = &mut world.nodes[0].endpoint;
    let with = |i| -> PeerSettings { settings(i, Suite::Aegis) };

    assert_eq!(endpoint.insert_peer(id(1), with(7)), Err(PeerError::IdTaken));
    assert_eq!(endpoint.insert_peer(id(7), with(1)), Err(PeerError::KeyTaken));
    assert_eq!(endpoint.insert_peer(id(7), with(0)), Err(PeerError::OwnKey));
    assert_eq!(endpoint.update_peer(id(7), with(7)), Err(PeerError::IdUnknown));
    assert_eq!(endpoint.update_peer(id(1), with(2)), Err(PeerError::KeyTaken));
    assert_eq!(endpoint.update_peer(id(1), with(7)), Ok(()));
    assert_eq!(endpoint.insert_peer(id(7), with(1)), Ok(()));
}

/// Puts node 0 under load, by an initiation of the last node over and over.
fn flood(world: &mut World) {
    let last = world.nodes.len() - 1;
    let initiation = world.sent.iter().find(|(from, to, datagram)| (*from, *to, datagram[0]) == (last, 0, 1)).cloned();
    let initiation = initiation.unwrap_or_else(|| {
        world.connect(last, 0);
        let initiation = world.sent.last().cloned().unwrap();
        world.run(secs(1));
        initiation
    });
    let sent = world.sent.len();
    for _ in 0..600 {
        let clocks = world.clocks();
        let _ = world.nodes[0].endpoint.handle_datagram(clocks, address(99), &initiation.2);
    }
    while world.nodes[0].endpoint.poll_transmit().is_some() {}
    assert_eq!(world.sent.len(), sent);
}

/// `message` with one bit altered in each of its first `bytes` bytes.
fn each_altered(message: &[u8], bytes: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes).map(|byte| {
        let mut altered = message.to_vec();
        altered[byte] ^= 1 << (byte % 8);
        altered
    })
}
