//! Whole nodes on a simulated network: v0 exchanges, gossip, sessions and packets together, under loss, delay, reordering,
//! NAT, partitions, restarts and claims to one address. One thread, one clock; everything follows from the seed.
//!
//! Datagrams pass NATs only as real ones let them; control connections pass all, as a forwarded port would let them.

#![expect(clippy::print_stdout, reason = "the figures are what one runs this for")]

mod checks;
mod control;
mod host;
mod nat;
mod random;
mod shell;
mod traffic;
mod world;

use std::ops::Range;
use std::time::{Duration, Instant};

use checks::is_well;
use host::{Scale, mesh_address};
use traffic::End;
use tunmesh_membership::Membership;
use world::World;

#[test]
fn any_sequence_of_troubles_ends_well() {
    for seed in seeds(1..13) {
        let count = 8 + usize::try_from(seed % 5).expect("a small number");
        let mut world = started(seed, count, 12);
        for _ in 0..25 {
            trouble(&mut world);
            let pause = Duration::from_millis(world.random.below(15_000));
            world.run_with_traffic(pause);
        }
        calm_down(&mut world);
        let took = world.run_until(secs(180), "a mesh that is well", is_well);
        println!("seed {seed}: {count} nodes are well after {took:?}; {}", figures(&world));
    }
}

#[test]
fn sixty_nodes_join_churn_and_heal() {
    let scale = Scale { signs: true, seeds: 3, hearsay_delay: HEARSAY_DELAY };
    join_churn_and_heal(60, scale, &Course { join_interval: Duration::from_millis(20), cut_off: 20 });
}

#[test]
#[ignore = "a minute of processor time: `make sim` runs it"]
fn two_hundred_nodes_join_churn_and_heal() {
    let scale = Scale { signs: false, seeds: 3, hearsay_delay: HEARSAY_DELAY };
    join_churn_and_heal(200, scale, &Course { join_interval: Duration::from_millis(20), cut_off: 66 });
}

#[test]
#[ignore = "a minute of processor time: `make sim` runs it"]
fn three_hundred_nodes_join_churn_and_heal() {
    let scale = Scale { signs: false, seeds: 3, hearsay_delay: HEARSAY_DELAY };
    join_churn_and_heal(300, scale, &Course { join_interval: Duration::from_millis(50), cut_off: 100 });
}

#[test]
#[ignore = "ten minutes of processor time: `make sim` runs it"]
fn a_thousand_nodes_join_churn_and_heal() {
    let scale = Scale { signs: false, seeds: 3, hearsay_delay: HEARSAY_DELAY };
    join_churn_and_heal(1000, scale, &Course { join_interval: Duration::from_millis(50), cut_off: 100 });
}

#[test]
fn one_address_leads_to_the_same_node_everywhere_once_two_parts_that_both_gave_it_away_are_one() {
    for seed in seeds(1..4) {
        let mut world = part_with_one_address_each(seed);
        (0..8).for_each(|index| world.hosts[index].part = 0);

        world.run_until(secs(60), "one owner", is_well);

        let first = world.hosts[1].agent.as_ref().map(|agent| agent.id.clone());
        assert_eq!([0, 2, 5, 6, 7].map(|index| world.route(index, mesh_address(1))), [(); 5].map(|()| first.clone()));
    }
}

#[test]
fn what_is_left_of_a_node_that_was_started_again_wins_nothing_back() {
    for seed in seeds(1..4) {
        let mut world = part_with_one_address_each(seed);
        (0..8).for_each(|index| world.hosts[index].part = 0);
        world.run_until(secs(60), "one owner", is_well);
        world.start(1);
        world.run_with_traffic(secs(1));

        world.run_until(secs(60), "one owner", is_well);

        // The other one started before what runs there now.
        let other = world.hosts[4].agent.as_ref().map(|agent| agent.id.clone());
        assert_eq!([0, 2, 5].map(|index| world.route(index, mesh_address(1))), [(); 3].map(|()| other.clone()));
    }
}

/// Eight nodes in two parts, with a node of the same address, which the one in the first part had first, in each.
fn part_with_one_address_each(seed: u64) -> World {
    let mut world = started(seed, 8, 6);
    (4..8).for_each(|index| world.hosts[index].part = 1);
    world.run_with_traffic(secs(20));
    world.hosts[4].address = mesh_address(1);
    world.start(4);
    for other in [5, 6, 7] {
        // Its own seeds are in the other part.
        world.introduce(4, other);
    }
    world.run_with_traffic(secs(5));
    assert_ne!(world.route(5, mesh_address(1)), world.route(0, mesh_address(1)), "{}", world.place());
    world
}

/// A part of it is measured, as the whole is one process: what a member known to a core and what a session take.
#[test]
#[ignore = "it looks at the memory of the whole process: `make sim` runs it alone"]
fn a_core_with_a_thousand_members_and_sessions_takes_a_few_megabytes() {
    let (count, talkative) = (250, 60);
    let empty = resident();
    let mut world = World::new(3, count, Scale { signs: false, seeds: 3, hearsay_delay: HEARSAY_DELAY });
    world.rules.checks_all = false;
    for index in 0..count {
        world.start(index);
        world.run(Duration::from_millis(50));
    }
    world.run_until(secs(120), "the joining", is_well);
    let (known, before) = (resident(), sessions(&world));
    for from in 0..talkative {
        (0..talkative).filter(|to| *to != from).for_each(|to| world.add_flow(End::node(from), End::node(to)));
    }
    world.run_with_traffic(secs(10));

    let per_member = (known - empty) / (count * count);
    let made = sessions(&world) - before;
    let per_session = (resident() - known) / made;
    let whole = 1000 * (per_member + per_session);
    println!(
        "a member takes {per_member} bytes, a session {per_session} ({made} measured): {} kB for 1,000",
        whole / 1000
    );
    assert!(whole < 20_000_000, "{whole} bytes");
}

/// Sessions in which any node is sent to.
fn sessions(world: &World) -> usize {
    world.agents().map(|(_, agent)| agent.inbound.len()).sum()
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// How nodes join, and how many of them are cut off for a while.
struct Course {
    join_interval: Duration,
    cut_off: usize,
}

fn join_churn_and_heal(count: usize, scale: Scale, course: &Course) {
    seeds(5..6).for_each(|seed| join_churn_and_heal_from(seed, count, scale, course));
}

fn join_churn_and_heal_from(seed: u64, count: usize, scale: Scale, course: &Course) {
    let begin = Instant::now();
    let mut world = World::new(seed, count, scale);
    world.rules.checks_all = count <= 100;
    world.rules.loss_percent = 1;
    for index in 0..count {
        world.start(index);
        world.run(course.join_interval);
    }
    add_flows(&mut world, 200);
    let joined = world.run_until(secs(120), "the joining", is_well);
    println!("{count} nodes joined, packets flow after {joined:?} more; {}; {:?}", figures(&world), begin.elapsed());

    for round in 0..20 {
        let index = world.random.index(count);
        match round % 3 {
            0 => world.stop(index),
            _ => world.start(index),
        }
        world.run_with_traffic(Duration::from_millis(700));
    }
    let churned = world.run_until(secs(120), "churn", is_well);
    println!("churned, well after {churned:?}; {}; {:?}", figures(&world), begin.elapsed());

    for index in 0..count {
        world.hosts[index].part = u64::from(index < course.cut_off);
    }
    world.run_with_traffic(secs(30));
    for index in [1, count - 1] {
        world.start(index);
    }
    world.run_with_traffic(secs(10));
    println!("parted; {}; {:?}", figures(&world), begin.elapsed());
    calm_down(&mut world);
    let healed = world.run_until(secs(120), "the healing", is_well);
    println!("healed after {healed:?}; {}; {:?}", figures(&world), begin.elapsed());
}

/// A small mesh in which packets flow.
fn started(seed: u64, count: usize, flows: usize) -> World {
    let mut world = World::new(seed, count, Scale { signs: true, seeds: 2, hearsay_delay: HEARSAY_DELAY });
    for index in 0..count {
        world.start(index);
    }
    add_flows(&mut world, flows);
    world.run_until(secs(60), "the start", is_well);
    world
}

/// Flows between random hosts, and from and to devices.
fn add_flows(world: &mut World, flows: usize) {
    let count = world.hosts.len();
    for number in 0..flows {
        let (from, to) = (world.random.index(count), world.random.index(count));
        if from != to {
            let end =
                |host: usize, is_device: bool| End { host, is_device: is_device && world.hosts[host].device.is_some() };
            let (from, to) = (end(from, number % 4 == 1), end(to, number % 4 == 2));
            world.add_flow(from, to);
        }
    }
}

/// Does something bad, or ends something bad.
fn trouble(world: &mut World) {
    let count = world.hosts.len();
    let (index, other) = (world.random.index(count), world.random.index(count));
    match world.random.below(10) {
        0 => world.stop(index),
        1 | 2 => world.start(index),
        3 | 4 => {
            for host in 0..count {
                world.hosts[host].part = world.random.below(2);
            }
        }
        5 => (0..count).for_each(|host| world.hosts[host].part = 0),
        6 => world.rules.loss_percent = world.random.below(30),
        7 => world.hosts.iter_mut().filter_map(|host| host.nat.as_mut()).for_each(nat::Nat::renew),
        _ => {
            // It comes with the address of another one, be that there or not. That of the first stays its own.
            if index > 0 && other > 0 {
                world.hosts[index].address = mesh_address(other);
                world.start(index);
            }
        }
    }
}

/// Ends all that is bad but two claims to one address, and starts all that are down.
fn calm_down(world: &mut World) {
    world.rules.loss_percent = 0;
    for index in 0..world.hosts.len() {
        world.hosts[index].part = 0;
        if world.hosts[index].agent.is_none() {
            world.start(index);
        }
    }
}

fn figures(world: &World) -> String {
    let traffic = &world.traffic;
    let gossip = world.agents().filter_map(|(_, agent)| agent.core.membership()).map(Membership::counters);
    let (refuted, died) = gossip.fold((0, 0), |(refuted, died), one| (refuted + one.refutations, died + one.deaths));
    format!(
        "{} of {} packets came, {:?}; {} datagrams, {:?} meetings, registrations and v0 sessions, {} events; {refuted} \
         suspicions refuted, {died} times one was held for dead",
        traffic.delivered, traffic.sent, traffic.by_way, world.datagrams, world.requests, world.handled
    )
}

/// These seeds, or those in `SIM_SEEDS`: one, or the first and the one after the last, as in `100..200`.
fn seeds(default: Range<u64>) -> Range<u64> {
    let given = std::env::var("SIM_SEEDS").ok().and_then(|text| {
        let (first, end) = text.split_once("..").unwrap_or((&text, ""));
        let first = first.parse().ok()?;
        Some(first..end.parse().unwrap_or(first + 1))
    });
    given.unwrap_or(default)
}

/// As the agent has it.
const HEARSAY_DELAY: Duration = Duration::from_millis(700);

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
