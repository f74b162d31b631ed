//! Whatever the network does, within what a network does.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use tunmesh_session::Suite;

use support::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    /// Ten lives of a session over a network that loses, doubles, delays and reorders.
    #[test]
    fn sessions_come_up_and_are_replaced_and_no_packet_arrives_twice(
        seed in any::<u64>(),
        suite in prop::sample::select(&Suite::ALL),
        loss in 0u64..30,
        duplication in 0u64..30,
        jitter in 0u64..400,
    ) {
        let mut world = World::new(3, suite, seed);
        world.link = Link { loss, duplication, delay: millis(5), jitter: millis(jitter) };
        let mut sent: BTreeMap<Vec<u8>, (usize, usize)> = BTreeMap::new();
        for step in 0..2600u32 {
            let (from, to) = [(0, 1), (1, 0), (2, 0), (1, 2)][world.chance().next() as usize % 4];
            let plaintext = [&step.to_be_bytes()[..], &[0xdd; 60]].concat();
            world.send(from, to, &plaintext);
            sent.insert(plaintext, (from, to));
            let pause = millis(world.chance().next() % 1000);
            world.run(pause);
        }
        world.run(secs(5));

        let mut arrived = 0;
        for (to, node) in world.nodes.iter().enumerate() {
            for (peer, plaintext) in &node.received {
                let expected = sent.remove(plaintext);
                prop_assert_eq!(expected, Some((peer.0 as usize, to)), "arrived twice, or from the wrong peer");
                arrived += 1;
            }
            prop_assert!(node.open_errors.iter().all(|error| *error == tunmesh_session::OpenError::Replayed));
        }
        prop_assert!(arrived >= 2600 * (100 - loss as usize) * 9 / 1000, "{} of 2600 with {} % lost", arrived, loss);
        prop_assert!(world.nodes[0].handshakes(1) >= 10, "{} handshakes", world.nodes[0].handshakes(1));
    }

    /// Nodes are killed at any time; once the network works, two packets within half a minute get through again.
    #[test]
    fn a_restart_at_any_time_is_recovered_from(seed in any::<u64>(), suite in prop::sample::select(&Suite::ALL)) {
        let mut world = World::new(2, suite, seed);
        world.link = Link { loss: 10, duplication: 10, delay: millis(5), jitter: millis(50) };
        for _ in 0..8 {
            for _ in 0..world.chance().next() % 40 {
                world.send(0, 1, b"noise");
                world.send(1, 0, b"noise");
                let pause = millis(world.chance().next() % 10_000);
                world.run(pause);
            }
            let who = world.chance().next() as usize % 2;
            world.restart(who, suite);
        }
        world.link.loss = 0;
        for (from, to) in [(0, 1), (1, 0)] {
            world.send(from, to, b"first");
            world.run(secs(25));
            world.send(from, to, b"second");
            world.run(secs(1));
            prop_assert_eq!(world.nodes[to].received.last(), Some(&(id(from), b"second".to_vec())));
        }
    }
}
