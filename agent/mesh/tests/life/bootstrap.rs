//! Finding the first members, and those that others tell of.

use std::time::Duration;

use tunmesh_mesh::{MeetFailure, Retries, Settings, Vouched};

use crate::support::*;

#[test]
fn all_urls_of_all_groups_are_called_at_the_start_except_our_own() {
    let mut settings = settings_with_group(&["https://b", "https://LOCAL:443/", "https://c"], Retries::Forever);
    settings.bootstrap_groups.insert("other".into(), group(&["https://d", "https://b/"], Retries::Times(0)));
    let mut bench = Bench::new(settings);

    assert_eq!(bench.actions(), ["meet https://b", "meet https://c", "meet https://d"]);
}

#[test]
fn a_node_without_urls_waits_to_be_found() {
    let mut bench = Bench::new(settings_with_group(&[], Retries::Forever));

    assert_eq!(bench.next_actions(secs(600)), (600_000, vec![]));
}

#[test]
fn nodes_that_start_together_do_not_call_in_the_same_order_for_ever() {
    let waits = |id: &str| {
        let mut settings = settings_with_group(&["https://balancer"], Retries::Times(8));
        settings.local.id = id.parse().unwrap();
        let mut bench = Bench::new(settings);
        let mut waits = vec![];
        loop {
            let (wait, actions) = bench.next_actions(secs(600));
            if actions.is_empty() {
                return waits;
            }
            waits.push(wait);
            bench.node.handle_met(&url("https://balancer"), Err(MeetFailure::Itself), bench.now).unwrap();
        }
    };
    let (one, other) = (waits("one"), waits("other"));

    assert_eq!((one.len(), other.len()), (9, 9));
    assert!(one.iter().zip(&other).any(|(one, other)| one < other), "{one:?} {other:?}");
    assert!(one.iter().zip(&other).any(|(one, other)| one > other), "{one:?} {other:?}");
}

#[test]
fn a_group_that_may_be_tried_forever_is_tried_quickly_at_first_and_then_at_its_interval() {
    let mut bench = Bench::new(settings_with_group(&["https://b"], Retries::Forever));
    let waits: Vec<u128> = (0..9)
        .map(|_| {
            let (wait, actions) = bench.next_actions(secs(100));
            assert_eq!(actions, ["meet https://b"]);
            bench.node.handle_met(&url("https://b"), Err(MeetFailure::Unreachable), bench.now).unwrap();
            wait / 1000
        })
        .collect();

    assert_eq!(waits[..4], [0, 1, 2, 4], "quickly at first");
    assert!(waits[5..].iter().all(|wait| is_about_an_interval(*wait)), "{waits:?}");
    assert!(bench.events().contains(&"reload".to_string()));
}

#[test]
fn a_limited_group_is_tried_once_and_as_often_again_as_it_says() {
    for times in [0, 2] {
        let mut bench = Bench::new(settings_with_group(&["https://b"], Retries::Times(times)));
        let mut waits = vec![];
        loop {
            let (wait, actions) = bench.next_actions(secs(600));
            if actions.is_empty() {
                break;
            }
            waits.push(wait / 1000);
            bench.node.handle_met(&url("https://b"), Err(MeetFailure::Refused), bench.now).unwrap();
        }
        assert_eq!(waits.len(), 1 + usize::try_from(times).unwrap());
        assert_eq!(waits[0], 0);
        assert!(waits[1..].iter().all(|wait| is_about_an_interval(*wait)), "{waits:?}");
        assert_eq!(bench.events(), vec!["reload"; usize::try_from(times).unwrap()]);
    }
}

#[test]
fn whoever_answers_is_a_member_with_a_route_and_a_session_to_be() {
    let mut bench = Bench::new(settings_with_group(&["https://b"], Retries::Forever));
    bench.actions();

    let b = member("b", "10.0.0.2/24");
    bench.node.handle_met(&url("https://b"), Ok(&registration(&b, &[])), bench.now).unwrap();

    assert_eq!(bench.events(), ["joined b", "routes"]);
    assert_eq!(bench.actions(), ["open b"]);
    assert_eq!(bench.routed(), ["b"]);
}

#[test]
fn members_that_others_tell_of_are_called_at_once_and_routed_only_when_met() {
    let mut bench = Bench::new(settings());
    let (b, c) = (member("b", "10.0.0.2/24"), member("c", "10.0.9.3/24"));

    bench.register(&b, std::slice::from_ref(&c)).unwrap();

    assert_eq!(bench.actions(), ["open b", "meet https://c"]);
    assert_eq!(bench.routed(), ["b"]);
    bench.node.handle_met(&url("https://c"), Ok(&registration(&c, &[])), bench.now).unwrap();
    assert_eq!(bench.routed(), ["b", "c"]);
}

#[test]
fn with_gossip_those_that_others_tell_of_are_called_one_by_one_and_only_if_nobody_vouches_for_them_meanwhile() {
    let mut bench = Bench::new(Settings { hearsay_delay: Duration::from_millis(700), ..settings() });
    let told = ["a", "c", "m", "z"].map(|name| member(name, &format!("10.0.0.{}/24", name.as_bytes()[0])));

    bench.register(&member("b", "10.0.0.2/24"), &told).unwrap();
    assert_eq!(bench.actions(), ["open b"]);
    bench.node.vouch(told[3].clone(), Vouched::default(), bench.now).unwrap();

    // Four in the list: 700 ms and 10 for each. The first after `local` comes first, so that not all call `a` first.
    let calls: Vec<_> = (0..4).map(|_| bench.next_actions(secs(1))).collect();
    let call = |wait, name: &str| (wait, vec![format!("meet https://{name}")]);
    assert_eq!(calls, [call(740, "m"), call(100, "a"), call(50, "c"), (1000, vec![])]);
}

#[test]
fn what_others_tell_of_ourselves_is_not_followed() {
    let mut bench = Bench::new(settings());
    let mut told = vec![member("local", "10.0.0.77/24"), member("x", "10.0.0.1/24"), member("y", "10.0.0.7/24")];
    told[2].listen_url = url("https://local/");

    bench.register(&member("b", "10.0.0.2/24"), &told).unwrap();

    assert_eq!(bench.actions(), ["open b"]);
}

#[test]
fn the_dead_that_others_keep_telling_of_are_called_ever_less() {
    let mut bench = Bench::new(settings());
    let (b, dead) = (member("b", "10.0.0.2/24"), member("dead", "10.0.0.3/24"));
    bench.settle(&b);
    let mut calls = vec![];
    for second in 0..600 {
        if second % 5 == 0 {
            bench.register(&b, std::slice::from_ref(&dead)).unwrap();
        }
        bench.pass(secs(1));
        if bench.actions().contains(&"meet https://dead".to_string()) {
            calls.push(second);
            bench.node.handle_met(&url("https://dead"), Err(MeetFailure::Unreachable), bench.now).unwrap();
        }
    }

    let gaps: Vec<i32> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps[..6], [1, 2, 4, 8, 16, 32]);
    assert!(gaps[6..].iter().all(|gap| (60..=65).contains(gap)), "{gaps:?}");
}

#[test]
fn the_dead_of_whom_nobody_speaks_are_forgotten() {
    let mut bench = Bench::new(settings());
    bench.register(&member("b", "10.0.0.2/24"), &[member("dead", "10.0.0.3/24")]).unwrap();
    let mut calls = 0;
    for _ in 0..600 {
        bench.pass(secs(1));
        if bench.actions().contains(&"meet https://dead".to_string()) {
            calls += 1;
            bench.node.handle_met(&url("https://dead"), Err(MeetFailure::Unreachable), bench.now).unwrap();
        }
    }

    assert_eq!(calls, 5);
    assert_eq!(bench.node.poll_timeout(), None, "nothing is planned for a place nobody speaks of");
}

#[test]
fn a_load_balancer_that_led_to_ourselves_is_asked_again_while_we_are_alone() {
    let mut bench = Bench::new(settings_with_group(&["https://balancer"], Retries::Forever));
    assert_eq!(bench.actions(), ["meet https://balancer"]);
    bench.node.handle_met(&url("https://balancer"), Err(MeetFailure::Itself), bench.now).unwrap();

    let (wait, actions) = bench.next_actions(secs(100));
    assert_eq!(actions, ["meet https://balancer"]);
    assert!(is_about_an_interval(wait / 1000), "{wait}");
    let b = member("b", "10.0.0.2/24");
    bench.node.handle_met(&url("https://balancer"), Ok(&registration(&b, &[])), bench.now).unwrap();
    assert_eq!(bench.actions(), ["meet https://b"], "whoever is behind it must be where it says");
    assert_eq!(bench.known(), Vec::<String>::new());
    bench.node.handle_met(&url("https://b"), Ok(&registration(&b, &[])), bench.now).unwrap();
    assert_eq!(bench.known(), ["b"]);
    bench.node.handle_session_opened(&b.id, bench.now);
    bench.actions();

    // It leads to a member now, but may lead to others next time, who know nothing of that one: it is asked again, soon at
    // first, then once a minute.
    let mut asked_at = vec![];
    for second in 0..300 {
        bench.register(&b, &[]).unwrap();
        bench.pass(secs(1));
        if bench.actions().contains(&"meet https://balancer".to_string()) {
            asked_at.push(second);
            bench.node.handle_met(&url("https://balancer"), Ok(&registration(&b, &[])), bench.now).unwrap();
        }
        let answer = registration(&b, &[]);
        bench.node.handle_registered(&b.id, Ok(&answer), bench.now).unwrap();
    }
    assert!(asked_at.iter().filter(|second| **second < 40).count() >= 4, "{asked_at:?}");
    assert!(asked_at.len() <= 11, "{asked_at:?}");

    let (c, d) = (member("c", "10.0.0.3/24"), member("d", "10.0.0.4/24"));
    let answer = registration(&c, std::slice::from_ref(&d));
    bench.node.handle_met(&url("https://balancer"), Ok(&answer), bench.now).unwrap();
    assert_eq!(bench.actions(), ["meet https://c"]);
}

#[test]
fn a_group_is_called_again_at_once_when_its_last_member_is_lost() {
    for retries in [Retries::Forever, Retries::Times(0)] {
        let mut bench = Bench::new(settings_with_group(&["https://b"], retries));
        bench.actions();
        let b = member("b", "10.0.0.2/24");
        bench.node.handle_met(&url("https://b"), Ok(&registration(&b, &[])), bench.now).unwrap();
        bench.node.handle_session_opened(&b.id, bench.now);

        let mut called_at = None;
        while called_at.is_none() {
            bench.pass(secs(1));
            if bench.actions().contains(&"meet https://b".to_string()) {
                called_at = Some(bench.now - bench.start);
            }
        }
        assert_eq!(called_at, Some(secs(30)), "{retries:?}");
        assert_eq!(bench.events(), ["joined b", "left b Stale", "routes"]);
    }
}

#[test]
fn the_silent_urls_of_a_joined_group_are_called_once_a_minute() {
    let mut bench = Bench::new(settings_with_group(&["https://b", "https://c"], Retries::Forever));
    bench.actions();
    let b = member("b", "10.0.0.2/24");
    bench.node.handle_met(&url("https://b"), Ok(&registration(&b, &[])), bench.now).unwrap();
    bench.node.handle_met(&url("https://c"), Err(MeetFailure::Unreachable), bench.now).unwrap();
    let mut calls = vec![];
    for second in 1..=300 {
        bench.register(&b, &[]).unwrap();
        bench.pass(secs(1));
        if bench.actions().contains(&"meet https://c".to_string()) {
            calls.push(second);
            bench.node.handle_met(&url("https://c"), Err(MeetFailure::Unreachable), bench.now).unwrap();
        }
    }

    assert_eq!(calls[..3], [1, 3, 7]);
    assert!(is_about_an_interval(calls[3]), "{calls:?}");
    assert!(calls[4..].windows(2).all(|pair| pair[1] - pair[0] == 60), "{calls:?}");
    assert!(!bench.events().contains(&"reload".to_string()));
}

#[test]
fn new_groups_are_called_when_the_settings_change_and_old_ones_no_more() {
    let mut bench = Bench::new(settings_with_group(&["https://b"], Retries::Forever));
    bench.actions();
    bench.node.handle_met(&url("https://b"), Err(MeetFailure::Unreachable), bench.now).unwrap();

    let mut changed = settings();
    changed.bootstrap_groups.insert("new".into(), group(&["https://c"], Retries::Times(0)));
    bench.node.reconfigure(changed.clone(), bench.now);
    assert_eq!(bench.actions(), ["meet https://c"]);
    bench.node.handle_met(&url("https://c"), Err(MeetFailure::Unreachable), bench.now).unwrap();

    bench.node.reconfigure(changed, bench.now);
    assert_eq!(bench.actions(), Vec::<String>::new(), "the same settings again change nothing");
    bench.pass(secs(16));
    bench.actions();
    assert_eq!(bench.next_actions(secs(600)), (600_000, vec![]));
}

/// Whether so many seconds are the retry interval of 15 s or up to a quarter of it less: each node calls at its own time.
fn is_about_an_interval<T: PartialOrd + From<u8>>(seconds: T) -> bool {
    seconds >= 11.into() && seconds <= 15.into()
}
