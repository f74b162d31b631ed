//! Cost of cutting and joining: one line per case, `name<TAB>ns`.
//!
//! Nanoseconds per packet of 1,420 bytes (super packets of up to 64 KiB), and per call for the checksum. The best of several runs,
//! which on a shared machine says most about the code. `cargo bench -p tunmesh-packet`.
#![expect(clippy::print_stdout, reason = "the lines are the result")]

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use tunmesh_packet::{
    ChecksumField, Coalescer, L4Checksum, Offload, SegmentKind, Segmentation, checksum, complete_checksum, split,
};

fn main() {
    let bytes = vec![0x5a; PACKET_LEN];
    report("checksum-1420", 1, || {
        black_box(checksum(black_box(&bytes)));
    });
    let mut copy = vec![0; PACKET_LEN];
    report("copy-1420", 1, || black_box(&mut copy[..]).copy_from_slice(black_box(&bytes)));

    for case in [Case::tcp4(), Case::tcp6(), Case::udp4()] {
        bench(&case);
    }
}

fn bench(case: &Case) {
    let name = case.name;
    let segments = split(&case.packet, &case.offload).expect("a super packet");
    let count = segments.count();
    let mut out = vec![0; count * PACKET_LEN];
    for (mode, checksum) in [("partial", L4Checksum::Partial), ("complete", L4Checksum::Complete)] {
        report(&format!("split-{name}-{mode}"), count, || {
            let segments = split(black_box(&case.packet), &case.offload).expect("a super packet");
            let mut at = 0;
            for index in 0..segments.count() {
                at += segments.write(index, &mut out[at..], checksum).expect("room for all segments");
            }
            black_box(&out);
        });
        let ranges: Vec<Range<usize>> = (0..count)
            .scan(0, |at, index| {
                let start = *at;
                *at += segments.len_of(index);
                Some(start..*at)
            })
            .collect();
        let mut coalescer = Coalescer::new(true);
        report(&format!("coalesce-{name}-{mode}"), count, || {
            for range in black_box(&ranges) {
                coalescer.push(&out, range.clone(), checksum == L4Checksum::Partial);
            }
            coalescer.drain(|frame| {
                black_box(frame.pieces);
            });
        });
    }
    let single = &mut out[..segments.len_of(0)];
    report(&format!("complete-checksum-{name}"), 1, || {
        complete_checksum(black_box(single)).expect("a whole packet");
    });
    let mut coalescer = Coalescer::new(true);
    let mixed = mixed_flows(single);
    let len = single.len();
    report(&format!("coalesce-{name}-8-flows-partial"), 64, || {
        for index in 0..64 {
            coalescer.push(&mixed, index * len..(index + 1) * len, true);
        }
        coalescer.drain(|frame| {
            black_box(frame.pieces);
        });
    });
}

/// 64 packets of 8 flows in turn; each TCP packet repeats the one before, so that none is joined.
fn mixed_flows(packet: &[u8]) -> Vec<u8> {
    let mut packets = packet.repeat(64);
    let port_at = if packet[0] >> 4 == 4 { 21 } else { 41 };
    for (packet, port) in packets.chunks_mut(packet.len()).zip((0..8).cycle()) {
        packet[port_at] = port;
    }
    packets
}

/// Prints the time of `run` divided by `packets`.
fn report(name: &str, packets: usize, mut run: impl FnMut()) {
    let calls = 20_000 / packets;
    let round = || {
        let start = Instant::now();
        for _ in 0..calls {
            run();
        }
        start.elapsed().as_secs_f64()
    };
    let best = std::iter::repeat_with(round).take(40).fold(f64::INFINITY, f64::min);
    let per_packet = best * 1e9 / (calls as f64 * packets as f64);
    println!("{name}\t{per_packet:.1}");
}

struct Case {
    name: &'static str,
    packet: Vec<u8>,
    offload: Offload,
}

impl Case {
    fn tcp4() -> Self {
        Self::new("tcp4", ipv4(6), &TCP_HEADER, SegmentKind::Tcp4, 16)
    }

    fn tcp6() -> Self {
        Self::new("tcp6", ipv6(6), &TCP_HEADER, SegmentKind::Tcp6, 16)
    }

    fn udp4() -> Self {
        Self::new("udp4", ipv4(17), &[0x9c, 0x40, 1, 0xbb, 0, 0, 0, 0], SegmentKind::Udp, 6)
    }

    /// A super packet of as many full segments as fit.
    fn new(name: &'static str, mut packet: Vec<u8>, transport: &[u8], kind: SegmentKind, offset: u16) -> Self {
        let start = packet.len();
        packet.extend(transport);
        let header_len = packet.len();
        let size = PACKET_LEN - header_len;
        let count = (65_535 - header_len) / size;
        packet.resize(header_len + count * size, 0x5a);
        let (total_at, total) = if packet[0] == 0x60 { (4, packet.len() - 40) } else { (2, packet.len()) };
        packet[total_at..total_at + 2].copy_from_slice(&word(total).to_be_bytes());
        if kind == SegmentKind::Udp {
            let len = word(packet.len() - start);
            packet[start + 4..start + 6].copy_from_slice(&len.to_be_bytes());
        }
        let offload = Offload {
            checksum: Some(ChecksumField { start: word(start), offset }),
            is_verified: false,
            segmentation: Some(Segmentation { kind, size: word(size), is_ecn: false }),
            header_len: word(header_len),
        };
        Self { name, packet, offload }
    }
}

fn ipv4(protocol: u8) -> Vec<u8> {
    vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
}

fn ipv6(protocol: u8) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
    for host in [1, 2] {
        header.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    header
}

fn word(number: usize) -> u16 {
    u16::try_from(number).expect("a packet has less")
}

/// Ports, sequence, acknowledgement, ACK, window, and a timestamp option.
const TCP_HEADER: [u8; 32] =
    [0x9c, 0x40, 1, 0xbb, 0, 1, 0, 0, 0, 0, 0, 7, 0x80, 0x10, 1, 0xf4, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

/// What a tunnel with an underlay MTU of 1,500 bytes carries.
const PACKET_LEN: usize = 1420;
