//! The sessions in which a node sends.

use std::collections::BTreeSet;

use crate::support::*;

#[test]
fn sessions_are_replaced_in_the_window_before_their_end_each_at_its_own_time() {
    let mut waits = BTreeSet::new();
    for index in 0..40 {
        let mut settings = settings();
        settings.near.reregistration_interval = secs(100_000);
        settings.near.stale_threshold = secs(200_000);
        let mut bench = Bench::new(settings);
        bench.settle(&member(&format!("b{index}"), "10.0.0.2/24"));
        let (wait, actions) = bench.next_actions(secs(4000));
        assert_eq!(actions, [format!("rotate b{index}")]);
        assert!((3_570_000..=3_600_000).contains(&wait), "{wait}");
        waits.insert(wait);
    }
    assert!(waits.len() > 30, "{waits:?}");
}

#[test]
fn a_replaced_session_lasts_as_long_as_the_first() {
    let mut bench = quiet_bench();
    let b = id("b");
    let (first, _) = bench.next_actions(secs(4000));

    bench.node.handle_session_opened(&b, bench.now);

    assert_eq!(bench.next_actions(secs(4000)), (first, vec!["rotate b".into()]));
}

#[test]
fn a_session_that_cannot_be_replaced_is_used_to_its_end_and_then_opened_anew() {
    let mut bench = quiet_bench();
    let b = id("b");
    let mut tries = vec![];
    for _ in 0..7 {
        let (_, actions) = bench.next_actions(secs(4000));
        tries.extend(actions);
        bench.node.handle_session_failed(&b, bench.now);
    }

    assert_eq!(tries.first().unwrap(), "rotate b");
    assert_eq!(tries.last().unwrap(), "open b");
    assert!(tries.is_sorted_by(|a, b| !(a == "open b" && b == "rotate b")), "{tries:?}");
}

#[test]
fn sessions_that_cannot_be_opened_are_tried_ever_less() {
    let mut bench = quiet_bench();
    bench.register(&member("c", "10.0.0.3/24"), &[]).unwrap();
    assert_eq!(bench.actions(), ["open c"]);
    let waits: Vec<u128> = (0..8)
        .map(|_| {
            bench.node.handle_session_failed(&id("c"), bench.now);
            let (wait, actions) = bench.next_actions(secs(100));
            assert_eq!(actions, ["open c"]);
            wait / 1000
        })
        .collect();

    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a_lost_session_is_opened_anew_at_once_and_later_each_time_it_is_lost_again() {
    let mut bench = quiet_bench();
    let b = id("b");
    let waits: Vec<u128> = (0..5)
        .map(|_| {
            bench.node.handle_session_lost(&b, bench.now);
            // Told of again by another request in the same session.
            bench.node.handle_session_lost(&b, bench.now);
            let (wait, actions) = bench.next_actions(secs(100));
            assert_eq!(actions, ["open b"]);
            bench.node.handle_session_opened(&b, bench.now);
            wait / 1000
        })
        .collect();
    assert_eq!(waits, [0, 1, 2, 4, 8]);

    bench.pass(secs(60));
    bench.node.handle_session_lost(&b, bench.now);
    assert_eq!(bench.actions(), ["open b"], "a minute in use makes up for all");
}

#[test]
fn a_session_lost_while_it_is_being_replaced_is_not_asked_for_twice() {
    let mut bench = quiet_bench();
    let b = id("b");
    bench.next_actions(secs(4000));

    bench.node.handle_session_lost(&b, bench.now);
    assert_eq!(bench.next_actions(secs(30)), (30_000, vec![]));
    bench.node.handle_session_failed(&b, bench.now);

    assert_eq!(bench.next_actions(secs(100)), (1_000, vec!["open b".into()]));
}

#[test]
fn news_of_sessions_with_strangers_is_ignored() {
    let mut bench = quiet_bench();
    for name in ["x", "y"] {
        bench.node.handle_session_opened(&id(name), bench.now);
        bench.node.handle_session_failed(&id(name), bench.now);
        bench.node.handle_session_lost(&id(name), bench.now);
        bench.node.handle_fault(&id(name), bench.now);
    }
    assert_eq!(bench.actions(), Vec::<String>::new());
}

/// A node with the member `b` that nothing but sessions concerns.
fn quiet_bench() -> Bench {
    let mut settings = settings();
    settings.near.reregistration_interval = secs(100_000);
    settings.near.stale_threshold = secs(200_000);
    let mut bench = Bench::new(settings);
    bench.settle(&member("b", "10.0.0.2/24"));
    bench
}
