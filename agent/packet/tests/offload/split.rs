use tunmesh_packet::{
    ChecksumField, L4Checksum, LayoutError, Offload, SegmentKind, Segmentation, SplitError, complete_checksum, split,
};

use crate::packets::{ACK, CWR, ECE, FIN, PSH, Recipe, URG, cut};

#[test]
fn flags_stay_on_the_segments_they_belong_to() {
    let recipe = Recipe { flags: ACK | CWR | ECE | FIN | PSH | URG, ..Recipe::tcp4(2500) };

    let segments = cut(&recipe.partial(), &recipe.offload(1000), L4Checksum::Complete);

    let flags: Vec<u8> = segments.iter().map(|segment| segment[33]).collect();
    assert_eq!(flags, [ACK | CWR | ECE | URG, ACK | ECE | URG, ACK | ECE | FIN | PSH | URG]);
}

#[test]
fn identification_and_sequence_number_wrap() {
    let recipe = Recipe { identification: 0xffff, sequence: u32::MAX - 99, ..Recipe::tcp4(250) };

    let segments = cut(&recipe.partial(), &recipe.offload(100), L4Checksum::Complete);

    let identifications: Vec<_> = segments.iter().map(|segment| &segment[4..6]).collect();
    assert_eq!(identifications, [[0xff, 0xff], [0, 0], [0, 1]]);
    let sequences: Vec<_> = segments.iter().map(|segment| &segment[24..28]).collect();
    assert_eq!(sequences, [(u32::MAX - 99).to_be_bytes(), 0u32.to_be_bytes(), 100u32.to_be_bytes()]);
}

#[test]
fn a_super_packet_without_payload_is_one_segment() {
    let recipe = Recipe::tcp4(0);

    let segments = cut(&recipe.partial(), &recipe.offload(100), L4Checksum::Complete);

    assert_eq!(segments, [recipe.complete()]);
}

#[test]
fn a_packet_without_segmentation_is_one_segment_even_if_it_is_no_packet() {
    for packet in [&[][..], &[0x45], &[0xff; 100]] {
        let segments = split(packet, &Offload::default()).unwrap();
        assert_eq!((segments.count(), segments.len_of(0), segments.is_partial()), (1, packet.len(), false));
        assert_eq!(cut(packet, &Offload::default(), L4Checksum::Complete), [packet]);
        assert_eq!(cut(packet, &Offload::default(), L4Checksum::Partial), [packet]);
    }
}

#[test]
fn an_unfinished_checksum_is_left_or_completed() {
    let recipe = Recipe::tcp4(100);
    let offload = Offload { checksum: Some(recipe.field()), ..Offload::default() };

    assert!(split(&recipe.partial(), &offload).unwrap().is_partial());
    assert_eq!(cut(&recipe.partial(), &offload, L4Checksum::Partial), [recipe.partial()]);
    assert_eq!(cut(&recipe.partial(), &offload, L4Checksum::Complete), [recipe.complete()]);
}

#[test]
fn a_checksum_inside_a_tunnelled_packet_is_completed_in_both_modes() {
    let inner = Recipe::tcp4(100);
    let mut outer = vec![0x45, 0, 0, 172, 0, 0, 0, 0, 64, 4, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2];
    let completed = [&outer[..], &inner.complete()].concat();
    outer.extend(inner.partial());
    let offload = Offload { checksum: Some(ChecksumField { start: 40, offset: 16 }), ..Offload::default() };

    assert!(!split(&outer, &offload).unwrap().is_partial());
    assert_eq!(cut(&outer, &offload, L4Checksum::Partial), [&completed[..]]);
    assert_eq!(cut(&outer, &offload, L4Checksum::Complete), [&completed[..]]);
}

#[test]
fn super_packets_whose_checksum_was_verified_are_cut_too() {
    let recipe = Recipe::tcp4(2500);
    let offload = Offload { checksum: None, is_verified: true, ..recipe.offload(1000) };

    let segments = cut(&recipe.complete(), &offload, L4Checksum::Complete);

    assert_eq!(segments, cut(&recipe.partial(), &recipe.offload(1000), L4Checksum::Complete));
}

#[test]
fn a_datagram_whose_sum_is_zero_says_so_with_all_ones() {
    let mut recipe = Recipe::udp4(2);
    recipe.payload = vec![0, 0];
    let without = recipe.complete();
    recipe.payload = without[recipe.checksum_at()..][..2].to_vec();
    let mut packet = recipe.partial();

    complete_checksum(&mut packet).unwrap();

    assert_eq!(packet[recipe.checksum_at()..][..2], [0xff, 0xff]);
    assert!(recipe.has_valid_checksums(&packet));
}

#[test]
fn only_tcp_and_udp_checksums_are_completed() {
    let mut packet = Recipe::tcp4(10).partial();
    packet[9] = 1;
    let before = packet.clone();

    assert_eq!(complete_checksum(&mut packet), Err(LayoutError::Protocol { found: 1 }));
    assert_eq!(packet, before);
}

#[test]
fn the_claimed_kind_must_be_that_of_the_packet() {
    let kinds = [SegmentKind::Tcp4, SegmentKind::Tcp6, SegmentKind::Udp];
    for (is_ipv6, is_udp) in [(false, false), (false, true), (true, false), (true, true)] {
        let recipe = Recipe { is_ipv6, is_udp, ..Recipe::tcp4(500) };
        let right = recipe.offload(100);
        for claimed in kinds {
            let segmentation = Some(Segmentation { kind: claimed, size: 100, is_ecn: false });
            let packet = recipe.partial();
            let outcome = split(&packet, &Offload { segmentation, ..right });
            if segmentation == right.segmentation {
                assert!(outcome.is_ok());
            } else {
                assert_eq!(outcome.unwrap_err(), SplitError::SegmentKind { claimed });
            }
        }
    }
}

#[test]
fn super_packets_with_wrong_lengths_are_refused() {
    let recipe = Recipe::tcp4(500);
    let udp = Recipe::udp4(500);
    let with = |recipe: &Recipe, at: usize, byte: u8| {
        let mut packet = recipe.partial();
        packet[at] = byte;
        let offload = recipe.offload(100);
        split(&packet, &offload).unwrap_err()
    };
    assert_eq!(split(&recipe.partial(), &recipe.offload(0)).unwrap_err(), SplitError::SegmentSize);
    assert_eq!(
        split(&[recipe.partial(), vec![0]].concat(), &recipe.offload(100)).unwrap_err(),
        SplitError::Layout(LayoutError::TotalLength { named: 552, found: 553 })
    );
    assert_eq!(with(&recipe, 32, 0x40), SplitError::Layout(LayoutError::TcpHeaderLength { found: 16 }));
    assert_eq!(with(&recipe, 6, 0x20), SplitError::Layout(LayoutError::Fragment));
    assert_eq!(with(&udp, 25, 0), SplitError::Layout(LayoutError::UdpLength { named: 256, found: 508 }));
    let short = Recipe { tcp_options: 0, ..Recipe::tcp4(0) };
    assert_eq!(with(&short, 32, 0xf0), SplitError::Layout(LayoutError::Truncated { needed: 60, found: 20 }));
}

#[test]
fn checksum_fields_in_the_ip_header_or_behind_the_packet_are_refused() {
    let packet = Recipe::tcp4(10).partial();
    for (start, offset) in [(0, 10), (19, 16), (20, 42), (61, 0), (0xffff, 0xffff)] {
        let field = ChecksumField { start, offset };
        let single = Offload { checksum: Some(field), ..Offload::default() };
        assert_eq!(split(&packet, &single).unwrap_err(), SplitError::ChecksumField(field));
    }
    for (start, offset) in [(20, 6), (24, 16), (0, 36)] {
        let field = ChecksumField { start, offset };
        let offload = Offload { checksum: Some(field), ..Recipe::tcp4(10).offload(5) };
        assert_eq!(split(&packet, &offload).unwrap_err(), SplitError::ChecksumField(field));
    }
}

#[test]
fn a_routing_header_that_is_not_used_up_is_refused() {
    let recipe = Recipe { is_ipv6: true, ip_options: 1, ..Recipe::tcp4(100) };
    let mut packet = recipe.partial();
    packet[6] = 43;
    packet[43] = 1;
    let outcome = split(&packet, &recipe.offload(50)).unwrap_err();
    assert_eq!(outcome, SplitError::Layout(LayoutError::Routing { segments_left: 1 }));

    packet[43] = 0;
    assert_eq!(split(&packet, &recipe.offload(50)).unwrap().count(), 2);
}

#[test]
fn asking_for_too_much_is_refused() {
    let recipe = Recipe::tcp4(250);
    let packet = recipe.partial();
    let segments = split(&packet, &recipe.offload(100)).unwrap();

    assert_eq!((segments.count(), segments.len_of(2), segments.len_of(3)), (3, 102, 0));
    let outcome = segments.write(3, &mut [0; 200], L4Checksum::Complete);
    assert_eq!(outcome, Err(SplitError::Index { index: 3, count: 3 }));
    let outcome = segments.write(0, &mut [0; 151], L4Checksum::Complete);
    assert_eq!(outcome, Err(SplitError::Output { needed: 152, found: 151 }));
}
