#![no_main]

use libfuzzer_sys::fuzz_target;
use tunmesh_packet::{Coalescer, L4Checksum, Offload, Verdict, split};

/// What is done with the segments: bit 0 joins UDP, bit 1 leaves checksums unfinished; the next three say which segment is
/// altered where, the fourth how: 0 not at all.
type Control = [u8; 5];

fuzz_target!(|input: (Control, &[u8])| {
    let ([flags, segment, high, low, alteration], bytes) = input;
    let Ok(offload) = Offload::parse(bytes) else {
        return;
    };
    assert_eq!(Offload::parse(&offload.encode()), Ok(offload));
    let packet = &bytes[Offload::LEN..];
    let Ok(segments) = split(packet, &offload) else {
        return;
    };
    assert!(segments.count() > 0);
    let is_partial = flags & 2 != 0 && segments.is_partial();

    let mut arena = Vec::new();
    let mut ranges = Vec::new();
    let mut expected = Vec::new();
    for index in 0..segments.count().min(MOST_SEGMENTS) {
        let len = segments.len_of(index);
        let mut complete = vec![0; len];
        assert_eq!(segments.write(index, &mut complete, L4Checksum::Complete), Ok(len));
        assert!(
            segments.write(index, &mut vec![0; len - usize::from(len > 0)], L4Checksum::Complete).is_err() || len == 0
        );
        let start = arena.len();
        arena.resize(start + len, 0);
        if is_partial {
            assert_eq!(segments.write(index, &mut arena[start..], L4Checksum::Partial), Ok(len));
        } else {
            if usize::from(segment) == index && len > 0 {
                complete[usize::from(u16::from_be_bytes([high, low])) % len] ^= alteration;
            }
            arena[start..].copy_from_slice(&complete);
        }
        ranges.push(start..start + len);
        expected.push(complete);
    }
    assert!(segments.write(segments.count(), &mut vec![0; 0x2_0000], L4Checksum::Complete).is_err());

    let mut coalescer = Coalescer::new(flags & 1 != 0);
    // The second batch is as the first one.
    for _ in 0..2 {
        for range in &ranges {
            assert_ne!(coalescer.push(&arena, range.clone(), is_partial), Verdict::Refused);
        }
        let outside = arena.len()..arena.len() + 1;
        assert_eq!(coalescer.push(&arena, outside, is_partial), Verdict::Refused);

        let mut found = Vec::new();
        coalescer.drain(|frame| {
            let mut bytes = frame.head.to_vec();
            bytes.extend(frame.pieces.iter().flat_map(|piece| &arena[piece.clone()]));
            let offload = Offload::parse(&bytes).expect("a frame begins with a header");
            let segments = split(&bytes[Offload::LEN..], &offload).expect("a frame can be cut");
            for index in 0..segments.count() {
                let mut segment = vec![0; segments.len_of(index)];
                segments.write(index, &mut segment, L4Checksum::Complete).expect("there is room");
                found.push(segment);
            }
        });
        let mut found: Vec<_> = found.into_iter().map(comparable).collect();
        let mut expected: Vec<_> = expected.iter().cloned().map(comparable).collect();
        // An altered packet may be of another flow.
        if alteration != 0 {
            found.sort();
            expected.sort();
        }
        assert_eq!(found, expected);
    }
});

/// A packet without what joining and cutting need not keep: the identification where there are no fragments, and which of the
/// two zeros of one's complement a checksum is.
fn comparable(mut packet: Vec<u8>) -> Vec<u8> {
    if packet.len() >= 20 && packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    for word in packet.as_chunks_mut::<2>().0 {
        if *word == [0xff; 2] {
            *word = [0; 2];
        }
    }
    packet
}

/// Segments of one byte make up to 65,535 of them.
const MOST_SEGMENTS: usize = 600;
