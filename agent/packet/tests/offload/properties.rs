use std::collections::BTreeMap;

use proptest::prelude::*;
use tunmesh_packet::{Coalescer, L4Checksum, LayoutError, Offload, complete_checksum, split};

use crate::packets::{ACK, Arena, FIN, PSH, Recipe, coalesce, cut, payload};

proptest! {
    #[test]
    fn what_was_cut_is_joined_again((recipe, size) in plain_super_packet()) {
        let packet = recipe.partial();
        let offload = recipe.offload(size);
        let partial = cut(&packet, &offload, L4Checksum::Partial);
        let complete = cut(&packet, &offload, L4Checksum::Complete);
        if let [_] = &partial[..] {
            let single = Offload { checksum: Some(recipe.field()), ..Offload::default() };
            prop_assert_eq!(coalesce(&partial, true), [(single, packet)]);
            prop_assert_eq!(coalesce(&complete, false), [(Offload::default(), recipe.complete())]);
        } else {
            prop_assert_eq!(coalesce(&partial, true), [(offload, packet.clone())]);
            prop_assert_eq!(coalesce(&complete, false), [(offload, packet)]);
        }
    }

    #[test]
    fn segments_are_intact_and_carry_the_whole_payload((recipe, size) in any_super_packet()) {
        let packet = recipe.partial();
        let segments = cut(&packet, &recipe.offload(size), L4Checksum::Complete);

        let mut carried = Vec::<u8>::new();
        for (index, segment) in segments.iter().enumerate() {
            let header = tunmesh_packet::parse(segment).unwrap();
            prop_assert_eq!(header.total_len(), segment.len());
            prop_assert!(recipe.has_valid_checksums(segment), "segment {}", index);
            if recipe.is_udp {
                let udp_len = u16::from_be_bytes([segment[recipe.start() + 4], segment[recipe.start() + 5]]);
                prop_assert_eq!(usize::from(udp_len), segment.len() - recipe.start());
            } else {
                let sequence = segment[recipe.start() + 4..][..4].try_into().unwrap();
                let offset = u32::try_from(carried.len()).unwrap();
                prop_assert_eq!(u32::from_be_bytes(sequence), recipe.sequence.wrapping_add(offset));
            }
            if !recipe.is_ipv6 {
                let identification = recipe.identification.wrapping_add(u16::try_from(index).unwrap());
                prop_assert_eq!(&segment[4..6], identification.to_be_bytes());
            }
            carried.extend(&segment[recipe.header_len()..]);
            if index + 1 < segments.len() {
                prop_assert_eq!(segment.len() - recipe.header_len(), usize::from(size));
            }
        }
        prop_assert_eq!(carried, recipe.payload);
    }

    #[test]
    fn partial_segments_become_complete_ones((recipe, size) in any_super_packet()) {
        let packet = recipe.partial();
        let partial = cut(&packet, &recipe.offload(size), L4Checksum::Partial);
        let complete = cut(&packet, &recipe.offload(size), L4Checksum::Complete);
        for (mut segment, expected) in partial.into_iter().zip(complete) {
            let sum = !recipe.pseudo_header_and(&segment, &[]);
            prop_assert_eq!(&segment[recipe.checksum_at()..][..2], sum.to_be_bytes());
            complete_checksum(&mut segment).unwrap();
            prop_assert_eq!(segment, expected);
        }
    }

    #[test]
    fn cutting_the_frames_of_a_batch_gives_its_packets_in_the_order_of_their_flows(batch in batch()) {
        let packets: Vec<_> =
            batch.iter().map(|(recipe, partial)| if *partial { recipe.partial() } else { recipe.complete() }).collect();
        let arena = Arena::of(&packets);
        let mut coalescer = Coalescer::new(true);
        for (range, (_, partial)) in arena.packets.iter().zip(&batch) {
            coalescer.push(&arena.bytes, range.clone(), *partial);
        }

        let mut received = BTreeMap::<_, Vec<_>>::new();
        for (offload, packet) in arena.drain(&mut coalescer) {
            for segment in cut(&packet, &offload, L4Checksum::Complete) {
                received.entry(flow_of(&segment)).or_default().push(segment);
            }
        }

        let mut sent = BTreeMap::<_, Vec<_>>::new();
        for (recipe, _) in &batch {
            let packet = recipe.complete();
            sent.entry(flow_of(&packet)).or_default().push(packet);
        }
        prop_assert_eq!(received, sent);
    }

    #[test]
    fn no_bytes_make_anything_panic(
        head in prop::collection::vec(any::<u8>(), 0..12),
        packet in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        exercise(&packet, Offload::parse(&head).unwrap_or_default());
    }

    #[test]
    fn nearly_right_packets_do_not_make_anything_panic(
        (recipe, size) in any_super_packet(),
        changes in prop::collection::vec((0usize..130, any::<u8>()), 0..4),
        len in 0usize..400,
        head in prop::option::of(prop::array::uniform4(any::<u8>())),
        keeps_total_len in any::<bool>(),
    ) {
        let mut packet = recipe.partial();
        packet.truncate(len.max(1));
        if keeps_total_len {
            let (at, total) = if recipe.is_ipv6 { (4, packet.len().saturating_sub(40)) } else { (2, packet.len()) };
            if let Some(field) = packet.get_mut(at..at + 2) {
                field.copy_from_slice(&u16::try_from(total).unwrap().to_be_bytes());
            }
        }
        for (at, byte) in changes {
            if let Some(changed) = packet.get_mut(at) {
                *changed = byte;
            }
        }
        let mut offload = recipe.offload(size);
        if let (Some([start, offset, kind, flags]), Some(field)) = (head, &mut offload.checksum) {
            (field.start, field.offset) = (start.into(), offset.into());
            let mut bytes = offload.encode();
            (bytes[0], bytes[1]) = (flags, kind % 6);
            offload = Offload::parse(&bytes).unwrap_or(offload);
        }
        exercise(&packet, offload);
    }
}

#[test]
fn the_longest_packets_are_cut() {
    let longest =
        [(false, false, 65_535 - 40), (false, true, 65_535 - 28), (true, false, 65_535 - 20), (true, true, 65_535 - 8)];
    for (is_ipv6, is_udp, len) in longest {
        let recipe = Recipe { is_ipv6, is_udp, tcp_options: 0, ..Recipe::tcp4(len) };
        for size in [1400, u16::MAX] {
            let segments = cut(&recipe.partial(), &recipe.offload(size), L4Checksum::Complete);
            assert_eq!(segments.len(), len.div_ceil(size.into()));
            assert!(segments.iter().all(|segment| recipe.has_valid_checksums(segment)));
        }
        assert_eq!(split(&recipe.partial(), &recipe.offload(1)).unwrap().count(), len);
        exercise(&recipe.partial(), recipe.offload(1));
    }
}

/// Extension headers so long that no offload header can point behind them.
#[test]
fn a_checksum_out_of_reach_is_refused() {
    let mut packet = vec![0x60, 0, 0, 0, 0xff, 0xff, 60, 64];
    packet.resize(40, 1);
    for (next, words) in [(60, 255); 31].into_iter().chain([(17, 253)]) {
        packet.extend([next, words]);
        packet.resize(packet.len() + 8 * (usize::from(words) + 1) - 2, 0);
    }
    packet.extend([1, 2, 3, 4, 0, 15, 0, 0, 9, 9, 9, 9, 9, 9, 9]);
    assert_eq!(packet.len(), 65_575);

    exercise(&packet, Offload::default());
    assert_eq!(complete_checksum(&mut packet), Err(LayoutError::HeaderLength { found: 65_568 }));
}

/// Calls everything with `packet`, and what can be called with what comes out.
fn exercise(packet: &[u8], offload: Offload) {
    if let Ok(segments) = split(packet, &offload) {
        let last = segments.count() - 1;
        let mut out = vec![0; 65_575];
        for index in [0, 1, last / 2, last, last + 1] {
            for checksum in [L4Checksum::Complete, L4Checksum::Partial] {
                let outcome = segments.write(index, &mut out, checksum);
                assert_eq!(outcome.ok(), (index <= last).then(|| segments.len_of(index)));
            }
        }
    }
    let _outcome = complete_checksum(&mut packet.to_vec());
    let mut coalescer = Coalescer::new(true);
    for partial in [true, true, false, true] {
        coalescer.push(packet, 0..packet.len(), partial);
    }
    coalescer.drain(|frame| {
        let offload = Offload::parse(frame.head).unwrap();
        match frame.pieces {
            [piece] => {
                assert_eq!(*piece, 0..packet.len());
                assert_eq!((offload.segmentation, frame.head.len()), (None, Offload::LEN));
            }
            pieces => assert_eq!(offload.segmentation.map(|_| pieces.is_empty()), Some(false)),
        }
    });
}

/// Addresses, protocol and ports of a packet without options.
fn flow_of(packet: &[u8]) -> Vec<u8> {
    let is_ipv6 = packet[0] >> 4 == 6;
    if is_ipv6 { [&packet[6..7], &packet[8..44]].concat() } else { [&packet[9..10], &packet[12..24]].concat() }
}

/// A super packet that is joined again once it was cut, and the size of its segments.
fn plain_super_packet() -> impl Strategy<Value = (Recipe, u16)> {
    let flags = prop_oneof![Just(ACK), Just(ACK | PSH)];
    (any_super_packet(), flags).prop_map(|((recipe, size), flags)| {
        let ip_options = if recipe.is_ipv6 { 0 } else { recipe.ip_options };
        (Recipe { flags, ip_options, ..recipe }, size)
    })
}

/// A super packet and the size of its segments, of which there are at most 64 for UDP and 500 for TCP.
fn any_super_packet() -> impl Strategy<Value = (Recipe, u16)> {
    let options = (0u8..=10, 0u8..=10);
    let numbers = (any::<u16>(), any::<u32>(), any::<u32>(), any::<u16>(), any::<u32>());
    let len = prop_oneof![4 => 1usize..3000, 1 => 1usize..65_000];
    let size = prop_oneof![4 => 1u16..1500, 1 => any::<u16>()];
    (recipe_base(), options, numbers, any::<u8>(), len, size).prop_map(
        |(
            base,
            (ip_options, tcp_options),
            (identification, sequence, acknowledgement, window, seed),
            flags,
            len,
            size,
        )| {
            let recipe =
                Recipe { ip_options, tcp_options, identification, sequence, acknowledgement, flags, window, ..base };
            let len = len.min(65_535 - recipe.header_len());
            let least = len.div_ceil(if recipe.is_udp { 64 } else { 500 });
            (Recipe { payload: payload(len, seed), ..recipe }, size.max(u16::try_from(least).unwrap()))
        },
    )
}

fn recipe_base() -> impl Strategy<Value = Recipe> {
    (any::<[bool; 3]>(), any::<[u8; 3]>(), any::<[u16; 2]>()).prop_map(
        |(switches, [traffic_class, flow_label, ttl], ports)| {
            let [is_ipv6, is_udp, dont_fragment] = switches;
            Recipe { is_ipv6, is_udp, dont_fragment, traffic_class, flow_label, ttl, ports, ..Recipe::tcp4(0) }
        },
    )
}

/// Packets of a few flows, mostly continuing each other; each with whether its checksum is left open.
fn batch() -> impl Strategy<Value = Vec<(Recipe, bool)>> {
    let step = (0usize..12, prop_oneof![8 => Just(None), 1 => (0u8..7).prop_map(Some)], 1usize..5, any::<bool>());
    prop::collection::vec(step, 0..120).prop_map(|steps| {
        let flow = |number: u8| Recipe {
            is_ipv6: number & 1 != 0,
            is_udp: number & 2 != 0,
            host: number,
            ..Recipe::tcp4(100)
        };
        let mut flows: Vec<_> = (0..12).map(flow).collect();
        let packet = |(number, change, len, partial): (usize, Option<u8>, usize, bool)| {
            let next: &mut Recipe = &mut flows[number];
            let mut packet = next.clone();
            match change {
                None => {}
                Some(0) => packet.payload = payload(len * 30, 3),
                Some(1) => packet.payload.clear(),
                Some(2) => packet.flags |= PSH,
                Some(3) => packet.flags |= FIN,
                Some(4) => packet.sequence = packet.sequence.wrapping_add(50),
                Some(5) => packet.ttl -= 1,
                Some(_) => packet.identification = packet.identification.wrapping_add(7),
            }
            *next = Recipe { flags: ACK, payload: payload(100, 4), ..packet.next() };
            (packet, partial)
        };
        steps.into_iter().map(packet).collect()
    })
}
