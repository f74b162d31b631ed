//! Many nodes on a simulated network: loss, delay, crashes, restarts, partitions. Everything follows from the seed.

mod support;

#[path = "sim/world.rs"]
mod world;

use std::time::Duration;

use support::secs;
use world::World;

/// Seeds of one run; each failure names its own.
const SEEDS: std::ops::Range<u64> = 1..13;

#[test]
fn all_nodes_started_at_once_know_each_other_within_seconds() {
    for (seed, count) in SEEDS.zip([3, 3, 4, 5, 6, 8, 10, 12, 16, 20, 30, 50]) {
        let mut world = World::new(seed, count, &[0]);
        world.run(secs(3));
        world.assert_complete();
    }
}

#[test]
fn a_newcomer_is_known_to_fifty_nodes_within_a_second() {
    for seed in SEEDS.take(4) {
        let mut world = World::new(seed, 50, &[0]);
        world.stop(49);
        world.run(secs(40));
        world.assert_complete();
        world.restart(49);
        world.run(secs(1));
        world.assert_complete();
    }
}

#[test]
fn a_lossy_network_only_delays_it() {
    for (seed, count) in SEEDS.zip([3, 5, 8, 12, 20, 3, 5, 8, 12, 20, 8, 8]) {
        let mut world = World::new(seed, count, &[0, 1]);
        world.loss_percent = 20;
        world.run(secs(60));
        world.assert_complete();
        // A member is lost for good only if all of about six exchanges in each direction are.
        world.run(secs(120));
        world.assert_complete();
    }
}

#[test]
fn the_dead_are_removed_everywhere_when_their_time_is_over() {
    for seed in SEEDS {
        let mut world = World::new(seed, 10, &[0]);
        world.run(secs(10));
        for index in [2, 7] {
            world.stop(index);
        }
        world.run(secs(35));
        for index in world.near(9, [2, 7]) {
            world.assert_unknown_to(index, 9);
        }
        world.run(secs(90));
        world.assert_complete();
        world.run(secs(300));
        world.assert_complete();
        assert!(world.calls_to_the_dead() < 400, "seed {seed}: {}", world.calls_to_the_dead());
    }
}

#[test]
fn a_node_restarted_in_its_place_heals_without_waiting_for_its_old_self_to_go_stale() {
    for seed in SEEDS {
        let mut world = World::new(seed, 12, &[0]);
        world.run(secs(20));
        world.restart(5);
        world.run(secs(2));
        world.assert_complete();
    }
}

#[test]
fn a_restarted_seed_that_has_nobody_to_call_is_found_again() {
    for seed in SEEDS {
        let mut world = World::new(seed, 12, &[0]);
        world.run(secs(20));
        world.restart(0);
        // A near member registers within 5 s and is refused: it has another id by now.
        world.run(secs(7));
        world.assert_complete();
    }
}

#[test]
fn a_node_that_moved_to_another_url_keeps_its_address() {
    for seed in SEEDS {
        let mut world = World::new(seed, 12, &[0]);
        world.run(secs(20));
        world.stop(5);
        world.move_away(5);
        world.restart(5);
        world.run(secs(40));
        world.assert_complete();
    }
}

#[test]
fn all_nodes_restarted_at_once_find_each_other_again() {
    for seed in SEEDS {
        let mut world = World::new(seed, 8, &[0, 3]);
        world.run(secs(20));
        for index in 0..8 {
            world.restart(index);
        }
        world.run(secs(35));
        world.assert_complete();
    }
}

#[test]
fn a_partition_heals_even_if_each_part_has_seeds_of_its_own() {
    for seed in SEEDS {
        let mut world = World::new(seed, 10, &[0, 1, 8, 9]);
        world.run(secs(20));
        world.split_at(Some(5));
        // Long enough for all that was told of the other part to be forgotten.
        world.run(secs(900));
        for index in 0..5 {
            world.assert_unknown_to(9, index);
            world.assert_unknown_to(index, 9);
        }
        world.split_at(None);
        world.run(secs(65));
        world.assert_complete();
    }
}

#[test]
fn two_nodes_with_one_address_never_both_have_it_and_the_first_keeps_it() {
    for seed in SEEDS {
        let mut world = World::new(seed, 6, &[0]);
        world.stop(5);
        world.run(secs(20));
        world.share_address(5, 4);
        world.restart(5);
        world.run(secs(300));
        for index in 0..4 {
            world.assert_routed(index, 4);
            world.assert_unknown_to(5, index);
        }
    }
}

#[test]
fn any_sequence_of_troubles_ends_well() {
    for seed in 100..140 {
        let mut world = World::new(seed, 8, &[0, 1]);
        for _ in 0..30 {
            world.trouble();
            let pause = Duration::from_millis(world.random(20_000));
            world.run(pause);
        }
        world.calm_down();
        world.run(secs(240));
        world.assert_complete();
    }
}
