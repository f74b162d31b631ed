//! Many nodes on a network that loses, delays, doubles and splits: what the whole mesh does, and how fast.
//!
//! Every test prints what it measured; `cargo test -p tunmesh-membership --test sim -- --nocapture` shows it.

#![expect(clippy::print_stdout, reason = "the figures are what one runs this for")]

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use support::{CheapIdentity, Net, draft, draft_of, key_identity, outside};
use tunmesh_membership::Event;
use tunmesh_protocol::NodeId;

#[test]
fn a_newcomer_is_known_everywhere_within_a_second_among_100() {
    for seed in 1..=5 {
        let mut net = settled(100, seed);
        net.add(100, key_identity(100, 0), draft(100));
        net.join(100, 42);

        let everywhere = net.run_until(Duration::from_secs(1), "the newcomer known to all", |net| {
            (0..100).all(|index| net.node(index).get(&draft(100).id).is_some())
        });
        let all = net.run_until(Duration::from_secs(1), "all known to the newcomer", |net| net.node(100).len() == 100);

        println!("seed {seed}: known to 100 nodes after {everywhere:?}, knows them all {all:?} later");
    }
}

#[test]
fn a_dead_node_is_gone_everywhere_within_five_seconds_among_100() {
    let mut times = Vec::new();
    for seed in 1..=4 {
        let mut net = settled(100, seed);
        for victim in [7, 21, 63] {
            net.stop(victim);
            let id = draft(victim).id;
            times.push(net.run_until(Duration::from_secs(5), "the dead node gone", |net| {
                (0..100).filter(|index| net.runs(*index)).all(|index| net.node(index).get(&id).is_none())
            }));
            let pause = 1000 + net.random(1000);
            net.run_millis(pause);
        }
        assert_eq!(false_deaths(&mut net, &[7, 21, 63]), 0, "seed {seed}");
    }
    times.sort();
    println!(
        "gone everywhere after {:?} to {:?}, median {:?}",
        times[0],
        times[times.len() - 1],
        times[times.len() / 2]
    );
}

#[test]
fn idle_traffic_of_a_node_is_the_same_among_10_and_100() {
    assert_equal_idle_traffic(&[10, 100]);
}

#[test]
#[ignore = "half a minute of processor time: `make sim` runs it"]
fn idle_traffic_of_a_node_is_the_same_among_10_100_and_1000() {
    assert_equal_idle_traffic(&[10, 100, 1000]);
}

#[track_caller]
fn assert_equal_idle_traffic(counts: &[usize]) {
    let rates: Vec<f64> = counts
        .iter()
        .copied()
        .map(|count| {
            let mut net = settled(count, 3);
            let (bytes, datagrams, begin) = (net.bytes, net.datagrams, Instant::now());
            net.run(Duration::from_secs(60));
            let per_second = |sum: u64| sum as f64 / 60.0 / count as f64;
            let rate = per_second(net.bytes - bytes);
            println!(
                "{count} nodes: {rate:.1} bytes and {:.2} datagrams per node and second (a minute took {:?})",
                per_second(net.datagrams - datagrams),
                begin.elapsed()
            );
            rate
        })
        .collect();

    assert!(rates.iter().all(|rate| (rate / rates[1] - 1.0).abs() < 0.2), "{rates:?}");
}

#[test]
fn nobody_alive_is_taken_for_dead_in_a_minute_of_5_percent_loss_among_100() {
    for seed in 1..=3 {
        let mut net = settled(100, seed);
        net.rules.loss_percent = 5;
        net.rules.duplicate_percent = 2;

        net.run(Duration::from_secs(60));

        let sum = |count: fn(&tunmesh_membership::Counters) -> u64| -> u64 {
            (0..100).map(|index| count(net.node(index).counters())).sum()
        };
        println!(
            "seed {seed}: {} probes, {} failed, {} refutations",
            sum(|counters| counters.probes),
            sum(|counters| counters.probes_failed),
            sum(|counters| counters.refutations)
        );
        assert_eq!(false_deaths(&mut net, &[]), 0, "seed {seed}");
        net.rules.loss_percent = 0;
        net.run_until(Duration::from_secs(30), "equal views after the loss", Net::is_complete);
    }
}

#[test]
fn nobody_behind_a_nat_is_taken_for_dead_among_100() {
    let mut net = Net::new(9);
    for index in 0..100 {
        let mut draft = draft(index);
        if index % 5 == 1 {
            draft.endpoints = vec!["192.168.1.2:4600".parse().unwrap()];
        }
        net.add(index, key_identity(index, 0), draft);
        if index % 5 == 1 {
            net.hide(index);
        }
    }
    join_all(&mut net);
    net.run_until(Duration::from_secs(60), "a complete mesh", Net::is_complete);
    for index in 0..100 {
        net.events(index);
    }

    net.run(Duration::from_secs(120));

    let refuted: u64 = (0..100).map(|index| net.node(index).counters().refutations).sum();
    println!("20 of 100 behind a NAT: {refuted} suspicions refuted in two minutes");
    assert_eq!(false_deaths(&mut net, &[]), 0);
    assert_eq!(net.node(0).seen_at(&draft(1).id), Some(outside(1)));
}

#[test]
fn two_hundred_nodes_join_churn_and_heal_after_a_partition() {
    join_churn_and_heal(200);
}

#[test]
#[ignore = "a minute of processor time: `make sim` runs it"]
fn a_thousand_nodes_join_churn_and_heal_after_a_partition() {
    join_churn_and_heal(1000);
}

fn join_churn_and_heal(count: usize) {
    let begin = Instant::now();
    let mut net = cheap(count, 5);
    join_all(&mut net);
    let joined = net.run_until(Duration::from_secs(60), "a complete mesh", Net::is_complete);
    println!(
        "joined in {joined:?}, {} datagrams per node; {:?} of real time",
        net.datagrams / count as u64,
        begin.elapsed()
    );

    let (sent, real) = (net.datagrams, Instant::now());
    for start in 1..=30 {
        let index = usize::try_from(net.random(count as u64)).expect("below the number of hosts");
        net.start(index, Box::new(CheapIdentity(start << 32)), draft_of(index, start));
        net.join(index, (index + 1) % count);
        net.run_millis(500);
    }
    let churned = net.run_until(Duration::from_secs(60), "equal views after churn", Net::is_complete);
    println!(
        "churned, equal {churned:?} later, {} datagrams per node; {:?}",
        (net.datagrams - sent) / count as u64,
        real.elapsed()
    );

    let few = count / 5;
    let (sent, real) = (net.datagrams, Instant::now());
    net.rules.split_at = Some(few);
    net.run_until(Duration::from_secs(60), "both parts alone", |net| {
        (0..count).all(|index| net.node(index).len() + 1 == if index < few { few } else { count - few })
    });
    println!("split, {} datagrams per node; {:?}", (net.datagrams - sent) / count as u64, real.elapsed());

    let (sent, real) = (net.datagrams, Instant::now());
    net.rules.split_at = None;
    let healed = net.run_until(Duration::from_secs(120), "a whole mesh again", Net::is_complete);
    println!(
        "healed in {healed:?}, {} datagrams per node; {:?}",
        (net.datagrams - sent) / count as u64,
        real.elapsed()
    );
    println!("all of it in {:?} of real time", begin.elapsed());
}

#[test]
fn records_never_regress_and_views_are_equal_after_quiet_whatever_happens() {
    for seed in 1..=10 {
        let mut net = Net::new(seed);
        let count = 20;
        for index in 0..count {
            net.add(index, key_identity(index, 0), draft(index));
        }
        join_all(&mut net);
        let mut held = HashMap::new();
        for step in 0..60 {
            trouble(&mut net, step);
            for _ in 0..8 {
                net.run_millis(250);
                check_incarnations(&net, &mut held);
            }
        }
        net.rules = support::Rules { split_at: None, loss_percent: 0, ..net.rules };
        for index in 0..count {
            if !net.runs(index) {
                net.start(index, key_identity(index, 1000), draft_of(index, 1000));
                net.join(index, (index + 1) % count);
            }
            // As a caller does with the seeds of its configuration as long as it is alone.
            if net.node(index).is_empty() {
                net.join(index, (index + 1) % count);
            }
        }
        net.run_until(Duration::from_secs(120), "equal views after quiet", Net::is_complete);
    }
}

/// Something bad, or the end of something bad.
fn trouble(net: &mut Net, step: u64) {
    let index = usize::try_from(net.random(net.len() as u64)).expect("below the number of hosts");
    match net.random(8) {
        0 => net.stop(index),
        1 | 2 => {
            net.start(index, key_identity(index, step + 1), draft_of(index, step + 1));
            let seed = (index + 1) % net.len();
            net.join(index, seed);
        }
        3 => net.rules.split_at = Some(index),
        4 => net.rules.split_at = None,
        5 => net.rules.loss_percent = net.random(40),
        6 => net.rules.duplicate_percent = net.random(30),
        _ if net.runs(index) => {
            let draft = net.with(index, |node, _| node.own().as_ref().clone());
            net.with(index, |node, now| {
                let mut changed = draft_of(index, 0);
                changed.id = draft.id;
                changed.version = format!("1.0.{step}");
                node.update(now, changed).expect("a short record");
            });
        }
        _ => {}
    }
}

/// No node holds an older record of anybody than it once did.
fn check_incarnations(net: &Net, held: &mut HashMap<(NodeId, NodeId), u64>) {
    for node in (0..net.len()).filter(|index| net.runs(*index)).map(|index| net.node(index)) {
        for record in node.members().chain([node.own()]) {
            let before = held.insert((node.own().id.clone(), record.id.clone()), record.incarnation);
            assert!(before.is_none_or(|before| before <= record.incarnation), "seed {}", net.seed);
        }
    }
}

/// Times that somebody took one for dead that is not among these.
fn false_deaths(net: &mut Net, dead: &[usize]) -> usize {
    let dead: Vec<NodeId> = dead.iter().map(|index| draft(*index).id).collect();
    let running: Vec<usize> = (0..net.len()).filter(|index| net.runs(*index)).collect();
    let events = running.into_iter().flat_map(|index| net.events(index));
    events.filter(|event| matches!(event, Event::Down { id, .. } if !dead.contains(id))).count()
}

/// A mesh in which everybody knows everybody and nothing is to be said.
fn settled(count: usize, seed: u64) -> Net {
    let mut net = if count > 100 { cheap(count, seed) } else { Net::new(seed) };
    for index in net.len()..count {
        net.add(index, key_identity(index, 0), draft(index));
    }
    join_all(&mut net);
    net.run_until(Duration::from_secs(60), "a complete mesh", Net::is_complete);
    net.run(Duration::from_secs(15));
    for index in 0..count {
        net.events(index);
    }
    net
}

fn cheap(count: usize, seed: u64) -> Net {
    let mut net = Net::new(seed);
    net.keeps_events = false;
    for index in 0..count {
        net.add(index, Box::new(CheapIdentity(index as u64)), draft(index));
    }
    net
}

/// Everybody calls the first one; that one calls nobody.
fn join_all(net: &mut Net) {
    for index in 1..net.len() {
        net.join(index, 0);
    }
}
