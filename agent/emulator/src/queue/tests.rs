use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[test]
fn without_impairments_every_packet_goes_on_at_once() {
    let (mut link, start) = link(&[], 1);

    for number in 0..100 {
        assert_eq!(link.handle_frame(&frame(number), start), Fate::Forward);
    }

    assert_eq!(link.poll_timeout(), None);
    let expected = Counters { received: 100, received_bytes: 10_000, forwarded: 100, ..Counters::default() };
    assert_eq!(link.counters(), expected);
}

#[test]
fn a_tenth_is_lost_and_the_seed_decides_which() {
    let survivors = |seed| {
        let (mut link, start) = link(&[("loss", "10")], seed);
        (0..10_000).filter(|&number| link.handle_frame(&frame(number), start) == Fate::Forward).collect::<Vec<_>>()
    };

    let first = survivors(7);

    assert!((8_800..=9_200).contains(&first.len()), "{} of 10000 left", first.len());
    assert_eq!(first, survivors(7));
    assert_ne!(first, survivors(8));
}

#[test]
fn a_delayed_packet_arrives_after_the_delay_and_not_before() {
    let (mut link, start) = link(&[("delay", "20")], 1);

    assert_eq!(link.handle_frame(&frame(0), start), Fate::Kept);
    assert_eq!(link.handle_frame(&frame(1), start + millis(5)), Fate::Kept);

    assert_eq!(link.poll_timeout(), Some(start + millis(20)));
    assert_eq!(link.poll_frame(start + Duration::from_micros(19_999)), None);
    assert_eq!(arrivals(&mut link, start), [(0, millis(20)), (1, millis(25))]);
    assert_eq!((link.counters().forwarded, link.waiting_bytes), (2, 0));
}

#[test]
fn jitter_varies_the_delay_to_both_sides() {
    let (mut link, start) = link(&[("delay", "20"), ("jitter", "5")], 1);
    let apart = millis(100);

    for number in 0..1000 {
        let _kept = link.handle_frame(&frame(number), start + apart * number);
    }

    let delays: Vec<Duration> = arrivals(&mut link, start).iter().map(|&(number, at)| at - apart * number).collect();
    let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
    assert!((millis(15)..Duration::from_micros(15_100)).contains(least), "{least:?}");
    assert!((Duration::from_micros(24_900)..=millis(25)).contains(most), "{most:?}");
}

#[test]
fn jitter_alone_keeps_the_order() {
    let (mut link, start) = link(&[("delay", "20"), ("jitter", "20")], 1);

    for number in 0..1000 {
        let _kept = link.handle_frame(&frame(number), start + Duration::from_micros(10) * number);
    }

    assert!(arrivals(&mut link, start).iter().map(|&(number, _)| number).eq(0..1000));
}

#[test]
fn packets_held_back_are_overtaken() {
    let (mut link, start) = link(&[("delay", "20"), ("reorder", "10"), ("reorder-delay", "3")], 3);

    for number in 0..10_000 {
        let _kept = link.handle_frame(&frame(number), start + millis(1) * number);
    }

    let arrivals = arrivals(&mut link, start);
    let late = |&&(number, at): &&(u32, Duration)| at - millis(1) * number == millis(23);
    let in_time = |&&(number, at): &&(u32, Duration)| at - millis(1) * number == millis(20);
    let held_back = arrivals.iter().filter(late).count();
    assert_eq!(arrivals.iter().filter(in_time).count(), 10_000 - held_back);
    assert!((800..=1200).contains(&held_back), "{held_back}");
    assert_eq!(link.counters().reordered, held_back as u64);
    assert!(!arrivals.is_sorted());
}

#[test]
fn a_duplicate_follows_its_original() {
    let (mut link, start) = link(&[("duplicate", "100")], 1);

    let _kept = link.handle_frame(&frame(0), start);
    let _kept = link.handle_frame(&frame(1), start);

    let numbers: Vec<u32> = arrivals(&mut link, start).iter().map(|&(number, _)| number).collect();
    assert_eq!(numbers, [0, 0, 1, 1]);
    let counters = link.counters();
    assert_eq!((counters.received, counters.duplicated, counters.forwarded), (2, 2, 4));
}

#[test]
fn packets_leave_at_the_rate() {
    // 100 bytes at 0.8 Mbit/s take a millisecond.
    let (mut link, start) = link(&[("rate", "0.8"), ("queue", "60000")], 1);

    for number in 0..1000 {
        assert_eq!(link.handle_frame(&frame(number), start), Fate::Kept);
    }

    assert!(arrivals(&mut link, start).into_iter().eq((0..1000).map(|number| (number, millis(1) * (number + 1)))));
    // After a pause the link is idle: nothing is saved up.
    let later = start + millis(5000);
    assert_eq!(link.handle_frame(&frame(0), later), Fate::Kept);
    assert_eq!(link.poll_timeout(), Some(later + millis(1)));
}

#[test]
fn a_burst_longer_than_the_queue_loses_its_end() {
    let (mut link, start) = link(&[("rate", "0.8"), ("queue", "50")], 1);

    for number in 0..1000 {
        let _kept = link.handle_frame(&frame(number), start);
    }

    // The one being sent, and 50 ms of waiting ones.
    assert!(arrivals(&mut link, start).iter().map(|&(number, _)| number).eq(0..51));
    assert_eq!(link.counters().overflowed, 949);
}

#[test]
fn memory_is_bounded() {
    let (mut link, start) = link(&[("delay", "60000")], 1);
    let large = vec![0; 64 << 10];

    for _ in 0..2049 {
        let _kept = link.handle_frame(&large, start);
    }

    assert_eq!((link.waiting_bytes, link.counters().overflowed), (MAX_WAITING_BYTES, 1));
}

#[test]
fn blocked_packets_are_dropped_until_the_block_ends() {
    let (mut link, start) = link(&[("block", "udp")], 1);
    let [udp, udp6, tcp] = [&ipv4(17), &ipv6(17), &ipv4(6)].map(|packet| [&[0; HEADER_LEN][..], packet].concat());

    assert_eq!([&udp, &udp6].map(|frame| link.handle_frame(frame, start)), [Fate::Kept; 2]);
    assert_eq!(link.handle_frame(&tcp, start), Fate::Forward);
    link.set(impairments(&[("block", "all")]));
    assert_eq!(link.handle_frame(&tcp, start), Fate::Kept);
    link.set(Impairments::default());
    assert_eq!(link.handle_frame(&udp, start), Fate::Forward);

    assert_eq!((link.counters().blocked, link.poll_timeout()), (3, None));
}

#[test]
fn a_shorter_delay_does_not_let_later_packets_overtake() {
    let (mut link, start) = link(&[("delay", "20")], 1);
    let _kept = link.handle_frame(&frame(0), start);

    link.set(Impairments::default());

    assert_eq!(link.handle_frame(&frame(1), start), Fate::Kept);
    assert_eq!(arrivals(&mut link, start), [(0, millis(20)), (1, millis(20))]);
    assert_eq!(link.handle_frame(&frame(2), start + millis(20)), Fate::Forward);
}

proptest! {
    #[test]
    fn no_packet_is_unaccounted_for_and_none_overtakes_unless_held_back(
        seed: u64,
        loss in 0.0..=100.0,
        duplicate in 0.0..=100.0,
        delay in 0..30_u32,
        jitter in 0..30_u32,
        rate in prop_oneof![Just(0.0), 0.1..10.0],
        pauses in vec(0..5_u64, 1..200),
    ) {
        let text = |number: f64| number.to_string();
        let (mut link, start) = link(&[
            ("loss", &text(loss)),
            ("duplicate", &text(duplicate)),
            ("delay", &delay.to_string()),
            ("jitter", &jitter.to_string()),
            ("rate", &text(rate)),
        ], seed);
        let (mut now, mut arrived) = (start, Vec::new());
        for (number, pause) in (0..).zip(&pauses) {
            now += millis(*pause);
            while let Some(frame) = link.poll_frame(now) {
                arrived.push(number_of(&frame));
            }
            if link.handle_frame(&frame(number), now) == Fate::Forward {
                arrived.push(number);
            }
        }
        arrived.extend(arrivals(&mut link, start).into_iter().map(|(number, _)| number));

        prop_assert!(arrived.is_sorted());
        let counters = link.counters();
        prop_assert_eq!(counters.received, pauses.len() as u64);
        prop_assert_eq!(counters.forwarded, arrived.len() as u64);
        let gone = counters.lost + counters.overflowed;
        prop_assert_eq!(counters.received + counters.duplicated, counters.forwarded + gone);
        prop_assert_eq!(link.waiting_bytes, 0);
    }
}

fn link(settings: &[(&str, &str)], seed: u64) -> (LinkQueue, Instant) {
    let mut link = LinkQueue::new(HEADER_LEN, seed);
    link.set(impairments(settings));
    (link, Instant::now())
}

fn impairments(settings: &[(&str, &str)]) -> Impairments {
    let mut impairments = Impairments::default();
    for (name, value) in settings {
        impairments.set(name, value).unwrap();
    }
    impairments
}

/// Everything that waits, with when it arrives after `start`.
fn arrivals(link: &mut LinkQueue, start: Instant) -> Vec<(u32, Duration)> {
    let mut arrivals = Vec::new();
    while let Some(due) = link.poll_timeout() {
        let frame = link.poll_frame(due).unwrap();
        arrivals.push((number_of(&frame), due - start));
    }
    arrivals
}

/// A packet of 100 bytes that begins with its number.
fn frame(number: u32) -> Vec<u8> {
    let mut frame = vec![0; HEADER_LEN];
    frame.extend(number.to_be_bytes());
    frame.resize(HEADER_LEN + 100, 0);
    frame
}

fn number_of(frame: &[u8]) -> u32 {
    frame[HEADER_LEN..].first_chunk().copied().map(u32::from_be_bytes).unwrap()
}

fn ipv4(protocol: u8) -> Vec<u8> {
    vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
}

fn ipv6(next_header: u8) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next_header, 64];
    packet.resize(40, 1);
    packet
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const HEADER_LEN: usize = 10;
