//! Who is alive, registering on time, and what changes with the settings.

use tunmesh_mesh::RegisterFailure;

use crate::support::*;

#[test]
fn near_and_far_members_are_registered_to_at_their_exact_intervals() {
    for (address, interval) in [("10.0.0.2/24", 5u32), ("10.0.7.2/24", 30)] {
        let mut bench = Bench::new(settings());
        let b = member("b", address);
        bench.settle(&b);

        let (first, actions) = bench.next_actions(secs(200));
        assert_eq!(actions, ["register b"]);
        assert!(first * 2 >= u128::from(interval) * 1000 && first <= u128::from(interval) * 1000, "{first}");
        for _ in 0..3 {
            bench.pass(secs(1));
            bench.node.handle_registered(&b.id, Ok(&registration(&b, &[])), bench.now).unwrap();
            let expected = (u128::from(interval) * 1000, vec!["register b".to_string()]);
            assert_eq!(bench.next_actions(secs(200)), expected);
        }
    }
}

#[test]
fn a_silent_member_is_removed_at_the_threshold_with_its_route() {
    for (address, stale) in [("10.0.0.2/24", 30), ("10.0.7.2/24", 120)] {
        let mut bench = Bench::new(settings());
        let b = member("b", address);
        bench.settle(&b);
        let before = bench.node.routes();

        bench.pass(secs(stale) - std::time::Duration::from_millis(1));
        assert_eq!(bench.known(), ["b"]);
        bench.pass(std::time::Duration::from_millis(1));

        assert_eq!(bench.known(), Vec::<String>::new());
        assert_eq!(bench.events(), ["left b Stale", "routes"]);
        let address = b.address.address().into();
        assert_eq!(bench.node.routes().owner(address), None);
        assert_eq!(before.owner(address), Some(&b.id), "a table once handed out does not change");
        assert_eq!(bench.node.poll_timeout(), None);
    }
}

#[test]
fn registering_here_and_answering_ours_both_keep_a_member() {
    let mut bench = Bench::new(settings());
    let (b, c) = (member("b", "10.0.0.2/24"), member("c", "10.0.0.3/24"));
    bench.settle(&b);
    bench.settle(&c);
    for _ in 0..20 {
        bench.pass(secs(10));
        bench.register(&b, &[]).unwrap();
        bench.node.handle_registered(&c.id, Ok(&registration(&c, &[])), bench.now).unwrap();
    }

    assert_eq!(bench.known(), ["b", "c"]);
}

#[test]
fn the_clock_of_a_member_is_shown_and_not_believed() {
    let mut bench = Bench::new(settings());
    let mut claim = registration(&member("b", "10.0.0.2/24"), &[]);
    claim.stamp -= 3600;
    let proof = tunmesh_mesh::Proof { called_back: true, vacated: None, tells_more: false };

    bench.node.accept(&claim, proof, bench.now).unwrap();

    let view = bench.node.member(&id("b")).unwrap();
    assert_eq!((view.stamp, view.last_seen), (claim.stamp, bench.now));
}

#[test]
fn failed_registrations_are_repeated_soon_and_then_once_per_groom_interval() {
    let mut bench = Bench::new(settings());
    let b = member("b", "10.0.7.2/24");
    bench.settle(&b);
    bench.next_actions(secs(100));
    let waits: Vec<u128> = (0..6)
        .map(|_| {
            bench.node.handle_registered(&b.id, Err(RegisterFailure::Unreachable), bench.now).unwrap();
            bench.next_actions(secs(100)).0 / 1000
        })
        .collect();

    assert_eq!(waits, [1, 2, 4, 5, 5, 5]);
}

#[test]
fn faults_bring_the_next_registration_forward_once_a_second() {
    let mut bench = Bench::new(settings());
    let b = member("b", "10.0.7.2/24");
    bench.settle(&b);
    let mut registrations = 0;
    for _ in 0..50 {
        bench.node.handle_fault(&b.id, bench.now);
        bench.pass(secs(1) / 10);
        if !bench.actions().is_empty() {
            registrations += 1;
            bench.node.handle_registered(&b.id, Ok(&registration(&b, &[])), bench.now).unwrap();
        }
    }

    assert_eq!(registrations, 6, "after 0, 1, 2, 3, 4 and 5 s");
}

#[test]
fn an_action_nobody_answers_is_given_up_after_a_minute() {
    let mut bench = Bench::new(settings());
    let b = member("b", "10.0.7.2/24");
    bench.settle(&b);
    bench.next_actions(secs(100));

    assert_eq!(bench.next_actions(secs(100)), (61_000, vec!["register b".into()]));
}

#[test]
fn health_is_good_during_the_grace_and_with_any_member() {
    let mut settings = settings();
    settings.startup_grace = secs(8);
    let mut bench = Bench::new(settings);
    let registered = |bench: &Bench| bench.node.health(bench.now).registered;

    assert!(registered(&bench), "startup_grace/t0");
    bench.pass(secs(8));
    assert!(!registered(&bench), "startup_grace/t9");
    bench.settle(&member("b", "10.0.0.2/24"));
    assert!(registered(&bench));
    bench.pass(secs(30));
    assert!(!registered(&bench));
}

#[test]
fn new_timers_count_for_members_that_are_known_already() {
    let mut bench = Bench::new(settings());
    bench.settle(&member("b", "10.0.7.2/24"));
    let mut changed = settings();
    changed.far.reregistration_interval = secs(2);
    changed.far.stale_threshold = secs(7);
    changed.enable_broadcast = true;

    bench.node.reconfigure(changed, bench.now);

    assert_eq!(bench.events(), ["routes"]);
    assert_eq!(bench.next_actions(secs(100)), (2_000, vec!["register b".into()]));
    bench.pass(secs(5));
    assert_eq!(bench.known(), Vec::<String>::new());
}

#[test]
fn durations_without_end_or_length_do_no_harm() {
    for duration in [std::time::Duration::MAX, std::time::Duration::ZERO] {
        let mut settings = settings_with_group(&["https://c"], tunmesh_mesh::Retries::Forever);
        settings.near.reregistration_interval = duration;
        settings.near.stale_threshold = duration;
        settings.groom_interval = duration;
        settings.bootstrap_retry_interval = duration;
        settings.startup_grace = duration;
        settings.request_timeout = duration;
        settings.session_max_age = duration;
        settings.session_validity = duration;
        let mut bench = Bench::new(settings);
        let b = member("b", "10.0.0.2/24");
        for _ in 0..20 {
            bench.register(&b, &[]).unwrap();
            bench.node.handle_session_opened(&b.id, bench.now);
            bench.node.handle_registered(&b.id, Ok(&registration(&b, &[])), bench.now).unwrap();
            bench.pass(secs(1));
        }
        bench.node.health(bench.now);
    }
}
