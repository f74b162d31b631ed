use tunmesh_packet::{Coalescer, Offload, Verdict};

use crate::packets::{ACK, Arena, CWR, ECE, FIN, PSH, RST, Recipe, SYN, URG, coalesce};

type Change = fn(&mut Recipe);

#[test]
fn packets_that_continue_each_other_become_one() {
    for is_ipv6 in [false, true] {
        for is_udp in [false, true] {
            let first = Recipe { is_ipv6, is_udp, ..Recipe::tcp4(100) };
            let second = first.next();
            let joined = Recipe { payload: [&first.payload[..], &second.payload].concat(), ..first.clone() };

            let complete = coalesce(&[first.complete(), second.complete()], false);
            let partial = coalesce(&[first.partial(), second.partial()], true);

            assert_eq!(complete, [(first.offload(100), joined.partial())]);
            assert_eq!(partial, complete);
        }
    }
}

#[test]
fn packets_that_differ_are_passed_one_by_one() {
    let changes: [(&str, Change); 27] = [
        ("source address", |packet| packet.host = 9),
        ("source port", |packet| packet.ports[0] += 1),
        ("destination port", |packet| packet.ports[1] += 1),
        ("protocol", |packet| packet.is_udp = true),
        ("version", |packet| (packet.is_ipv6, packet.ip_options) = (true, 0)),
        ("TOS", |packet| packet.traffic_class = 1),
        ("TTL", |packet| packet.ttl = 63),
        ("don't fragment", |packet| packet.dont_fragment = true),
        ("identification", |packet| packet.identification += 1),
        ("IPv4 options", |packet| packet.option_bytes[0] = 0),
        ("length of IPv4 options", |packet| packet.ip_options += 1),
        ("acknowledgement", |packet| packet.acknowledgement += 1),
        ("window", |packet| packet.window += 1),
        ("urgent pointer", |packet| packet.urgent += 1),
        ("TCP options", |packet| packet.option_bytes[1] = 0),
        ("length of TCP options", |packet| packet.tcp_options += 1),
        ("a gap", |packet| packet.sequence += 1),
        ("a repetition", |packet| packet.sequence -= 100),
        ("FIN", |packet| packet.flags = ACK | FIN),
        ("SYN", |packet| packet.flags = ACK | SYN),
        ("RST", |packet| packet.flags = ACK | RST),
        ("URG", |packet| packet.flags = ACK | URG),
        ("ECE", |packet| packet.flags = ACK | ECE),
        ("CWR", |packet| packet.flags = ACK | CWR),
        ("no ACK", |packet| packet.flags = 0),
        ("no payload", |packet| packet.payload.clear()),
        ("more payload", |packet| packet.payload.push(0)),
    ];
    for (name, change) in changes {
        let first = Recipe { ip_options: 1, ..Recipe::tcp4(100) };
        let mut second = first.next();
        change(&mut second);
        assert_not_joined(name, &first.complete(), &second.complete());
    }
}

#[test]
fn ipv6_packets_that_differ_are_passed_one_by_one() {
    let changes: [(&str, Change); 5] = [
        ("source address", |packet| packet.host = 9),
        ("traffic class", |packet| packet.traffic_class = 1),
        ("flow label", |packet| packet.flow_label = 1),
        ("hop limit", |packet| packet.ttl = 63),
        ("extension headers", |packet| packet.ip_options = 1),
    ];
    for (name, change) in changes {
        let first = Recipe { is_ipv6: true, ..Recipe::tcp4(100) };
        let mut second = first.next();
        change(&mut second);
        assert_not_joined(name, &first.complete(), &second.complete());
    }
}

#[test]
fn datagrams_that_differ_are_passed_one_by_one() {
    let changes: [(&str, Change); 4] = [
        ("destination port", |packet| packet.ports[1] += 1),
        ("TTL", |packet| packet.ttl = 63),
        ("no payload", |packet| packet.payload.clear()),
        ("more payload", |packet| packet.payload.push(0)),
    ];
    for (name, change) in changes {
        let first = Recipe::udp4(100);
        let mut second = first.next();
        change(&mut second);
        assert_not_joined(name, &first.complete(), &second.complete());
    }
}

/// Two packets of which the first alone keeps any other from being joined, or which are damaged.
#[test]
fn packets_that_are_not_plain_are_passed_one_by_one() {
    let tcp = Recipe::tcp4(100);
    let pair = |recipe: Recipe| [recipe.complete(), recipe.next().complete()];
    let damaged = |recipe: Recipe, at: usize, flip: u8| {
        pair(recipe).map(|mut packet| {
            packet[at] ^= flip;
            packet
        })
    };
    let pairs = [
        ("PSH on the first", [Recipe { flags: ACK | PSH, ..tcp.clone() }.complete(), tcp.next().complete()]),
        ("extension headers", pair(Recipe { is_ipv6: true, ip_options: 1, ..tcp.clone() })),
        ("reserved bits", {
            let reserved = |recipe: Recipe| {
                let mut packet = recipe.complete();
                packet[32] ^= 1;
                packet[36] -= 1;
                assert!(recipe.has_valid_checksums(&packet));
                packet
            };
            [reserved(tcp.clone()), reserved(tcp.next())]
        }),
        ("wrong TCP checksum", damaged(tcp.clone(), 60, 1)),
        ("wrong UDP checksum", damaged(Recipe::udp4(100), 60, 1)),
        ("wrong IPv4 checksum", damaged(tcp.clone(), 10, 1)),
        ("ICMP", damaged(tcp.clone(), 9, 6 ^ 1)),
        ("padding", pair(tcp.clone()).map(|packet| [packet, vec![0; 4]].concat())),
        (
            "no UDP checksum",
            pair(Recipe::udp4(100)).map(|mut packet| {
                packet[26..28].fill(0);
                packet
            }),
        ),
    ];
    for (name, [first, second]) in pairs {
        assert_not_joined(name, &first, &second);
    }
}

/// Their sum is that of an intact packet, but 0 says that there is none.
#[test]
fn datagrams_without_checksum_are_passed_even_if_they_would_not_change() {
    let without_checksum = |mut recipe: Recipe| {
        recipe.payload = vec![0, 0];
        let at = recipe.checksum_at();
        recipe.payload = recipe.complete()[at..][..2].to_vec();
        let mut packet = recipe.complete();
        packet[at..at + 2].fill(0);
        assert!(recipe.has_valid_checksums(&packet));
        packet
    };
    let first = Recipe::udp4(2);
    assert_not_joined("UDP checksum 0", &without_checksum(first.clone()), &without_checksum(first.next()));
}

#[test]
fn a_wrong_checksum_in_the_middle_is_passed_alone() {
    let first = Recipe::tcp4(100);
    let second = first.next();
    let third = second.next();
    let mut damaged = second.complete();
    *damaged.last_mut().unwrap() ^= 1;

    let frames = coalesce(&[first.complete(), damaged.clone(), third.complete()], false);

    let plain = Offload::default();
    assert_eq!(frames, [(plain, first.complete()), (plain, damaged), (plain, third.complete())]);
}

#[test]
fn a_single_partial_packet_asks_for_its_checksum() {
    for is_ipv6 in [false, true] {
        for (is_udp, flags, ip_options) in [(false, ACK, 0), (false, ACK | SYN, 0), (true, ACK, 0), (true, ACK, 1)] {
            let recipe = Recipe { is_ipv6, is_udp, flags, ip_options, ..Recipe::tcp4(100) };

            let frames = coalesce(&[recipe.partial()], true);

            let offload = Offload { checksum: Some(recipe.field()), ..Offload::default() };
            assert_eq!(frames, [(offload, recipe.partial())]);
        }
    }
}

#[test]
fn a_pushed_or_shorter_segment_ends_a_super_packet() {
    let enders: [Change; 2] = [|packet| packet.flags |= PSH, |packet| packet.payload.truncate(50)];
    for end in enders {
        let first = Recipe::tcp4(100);
        let mut second = first.next();
        end(&mut second);
        let third = Recipe { flags: ACK, ..second.next() };

        let frames = coalesce(&[first.complete(), second.complete(), third.complete()], false);

        let payload = [&first.payload[..], &second.payload].concat();
        let joined = Recipe { payload, flags: second.flags, ..first.clone() };
        assert_eq!(frames, [(first.offload(100), joined.partial()), (Offload::default(), third.complete())]);
    }
}

#[test]
fn identifications_do_not_matter_where_fragments_are_forbidden() {
    let first = Recipe { dont_fragment: true, ..Recipe::tcp4(100) };
    let second = Recipe { identification: 0, ..first.next() };

    assert_eq!(coalesce(&[first.complete(), second.complete()], false).len(), 1);
}

#[test]
fn udp_is_passed_where_the_device_does_not_cut_it() {
    let first = Recipe::udp4(100);
    let packets = [first.complete(), first.next().complete()];
    let arena = Arena::of(&packets);
    let mut coalescer = Coalescer::new(false);

    let verdicts = arena.packets.clone().into_iter().map(|packet| coalescer.push(&arena.bytes, packet, false));

    assert!(verdicts.eq([Verdict::Alone; 2]));
    assert_eq!(arena.drain(&mut coalescer), packets.map(|packet| (Offload::default(), packet)));
}

#[test]
fn super_packets_are_bounded() {
    let counts = |recipe: Recipe, count: usize| {
        let packets: Vec<_> = std::iter::successors(Some(recipe), |recipe| Some(recipe.next()))
            .take(count)
            .map(|r| r.partial())
            .collect();
        let arena = Arena::of(&packets);
        let mut coalescer = Coalescer::new(true);
        for packet in &arena.packets {
            coalescer.push(&arena.bytes, packet.clone(), true);
        }
        let mut pieces = Vec::new();
        coalescer.drain(|frame| pieces.push(frame.pieces.len()));
        pieces
    };
    assert_eq!(counts(Recipe::udp4(10), 130), [64, 64, 2]);
    assert_eq!(counts(Recipe::tcp4(10), 1001), [500, 500, 1]);
    assert_eq!(counts(Recipe::tcp4(1368), 60), [47, 13], "52 + 47 * 1368 is below 65,535 and one more is not");
    let full = Recipe { tcp_options: 0, ..Recipe::tcp4(5) };
    assert_eq!(counts(Recipe { payload: vec![1; 13_099], ..full }, 6), [5, 1], "40 + 5 * 13,099 is 65,535");
}

#[test]
fn the_oldest_of_nine_flows_ends() {
    let flow = |host| Recipe { host, ..Recipe::tcp4(100) };
    let firsts = (1..=9).map(flow);
    let seconds = (1..=9).rev().map(|host| flow(host).next());
    let packets: Vec<_> = firsts.chain(seconds).map(|recipe| recipe.complete()).collect();
    let arena = Arena::of(&packets);
    let mut coalescer = Coalescer::new(true);

    let verdicts: Vec<_> = arena.packets.iter().map(|at| coalescer.push(&arena.bytes, at.clone(), false)).collect();

    assert_eq!(verdicts[..9], [Verdict::Opened; 9]);
    assert_eq!(verdicts[9..17], [Verdict::Appended; 8]);
    assert_eq!(verdicts[17], Verdict::Opened);
    assert_eq!(arena.drain(&mut coalescer).len(), 10);
}

#[test]
fn fragments_are_not_overtaken_by_later_packets_of_their_hosts() {
    let first = Recipe::udp4(100);
    let mut fragment = first.next().complete();
    fragment[6] = 0x20;
    let second = first.next();
    let packets = [first.complete(), fragment, second.complete()];

    let frames = coalesce(&packets, false);

    assert_eq!(frames, packets.map(|packet| (Offload::default(), packet)));
}

#[test]
fn a_flow_does_not_end_with_a_packet_of_another() {
    let changes: [Change; 4] = [
        |packet| packet.is_ipv6 = true,
        |packet| packet.is_udp = true,
        |packet| packet.host = 2,
        |packet| packet.ports[0] += 1,
    ];
    let first = Recipe::tcp4(100);
    for change in changes {
        let mut other = first.clone();
        change(&mut other);

        let frames = coalesce(&[first.complete(), other.complete(), first.next().complete()], false);

        assert_eq!(frames.len(), 2, "{other:?}");
        assert_eq!(frames[1], (Offload::default(), other.complete()));
    }
}

#[test]
fn packets_of_no_flow_end_no_flow() {
    let first = Recipe::tcp4(100);
    let mut icmp = first.complete();
    icmp[9] = 1;
    let mut stranger = Recipe { host: 9, ..first.clone() }.complete();
    stranger[6] = 0x20;

    let frames = coalesce(&[first.complete(), icmp.clone(), stranger.clone(), first.next().complete()], false);

    assert_eq!(frames.len(), 3);
    assert!(frames[0].0.segmentation.is_some());
    assert_eq!(frames[1..], [(Offload::default(), icmp), (Offload::default(), stranger)]);
}

#[test]
fn ranges_outside_the_arena_are_refused() {
    let mut coalescer = Coalescer::new(true);
    for (start, end) in [(0, 11), (11, 11), (5, 4), (usize::MAX, usize::MAX)] {
        assert_eq!(coalescer.push(&[0x45; 10], start..end, true), Verdict::Refused);
    }
    coalescer.drain(|frame| panic!("{frame:?}"));
}

#[test]
fn a_batch_leaves_nothing_to_the_next() {
    let first = Recipe::tcp4(100);
    let packets = [first.complete(), first.next().complete()];
    let arena = Arena::of(&packets);
    let mut coalescer = Coalescer::new(true);
    for (range, packet) in arena.packets.iter().zip(packets) {
        assert_eq!(coalescer.push(&arena.bytes, range.clone(), false), Verdict::Opened);
        assert_eq!(arena.drain(&mut coalescer), [(Offload::default(), packet)]);
    }
    assert_eq!(arena.drain(&mut coalescer), []);
}

fn assert_not_joined(name: &str, first: &[u8], second: &[u8]) {
    let packets = [first.to_vec(), second.to_vec()];
    let frames = coalesce(&packets, false);
    assert_eq!(frames, packets.map(|packet| (Offload::default(), packet)), "{name}");
}
