//! Packets to cut and to join, and checksums by the letter of RFC 1071, which know nothing of the crate's own.

use std::ops::Range;

use tunmesh_packet::{ChecksumField, Coalescer, L4Checksum, Offload, SegmentKind, Segmentation, split};

/// A TCP or UDP packet, field by field.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) is_ipv6: bool,
    pub(crate) is_udp: bool,
    pub(crate) host: u8,
    pub(crate) traffic_class: u8,
    pub(crate) flow_label: u8,
    pub(crate) ttl: u8,
    pub(crate) identification: u16,
    pub(crate) dont_fragment: bool,
    /// IPv4 options, or IPv6 destination options of 8 bytes each, as a number of such units.
    pub(crate) ip_options: u8,
    /// Each byte of the IPv4 and TCP options: 1 is "no operation".
    pub(crate) option_bytes: [u8; 2],
    pub(crate) ports: [u16; 2],
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    /// TCP options, as a number of words.
    pub(crate) tcp_options: u8,
    pub(crate) payload: Vec<u8>,
}

impl Recipe {
    /// A TCP packet over IPv4 with `len` bytes of payload.
    pub(crate) fn tcp4(len: usize) -> Self {
        Self {
            is_ipv6: false,
            is_udp: false,
            host: 1,
            traffic_class: 0,
            flow_label: 0,
            ttl: 64,
            identification: 100,
            dont_fragment: false,
            ip_options: 0,
            option_bytes: [1, 1],
            ports: [40_000, 443],
            sequence: 1_000_000,
            acknowledgement: 7,
            flags: ACK,
            window: 500,
            urgent: 0,
            tcp_options: 3,
            payload: payload(len, 1),
        }
    }

    /// A UDP packet over IPv4 with `len` bytes of payload.
    pub(crate) fn udp4(len: usize) -> Self {
        Self { is_udp: true, ..Self::tcp4(len) }
    }

    /// The packet that continues this one, with a payload of the same length.
    pub(crate) fn next(&self) -> Self {
        Self {
            identification: self.identification.wrapping_add(1),
            sequence: self.sequence.wrapping_add(u32::try_from(self.payload.len()).unwrap()),
            payload: payload(self.payload.len(), 2),
            ..self.clone()
        }
    }

    /// Where the TCP or UDP header starts.
    pub(crate) fn start(&self) -> usize {
        if self.is_ipv6 { 40 + 8 * usize::from(self.ip_options) } else { 20 + 4 * usize::from(self.ip_options) }
    }

    /// Length of all headers.
    pub(crate) fn header_len(&self) -> usize {
        self.start() + if self.is_udp { 8 } else { 20 + 4 * usize::from(self.tcp_options) }
    }

    pub(crate) fn checksum_at(&self) -> usize {
        self.start() + if self.is_udp { 6 } else { 16 }
    }

    pub(crate) fn field(&self) -> ChecksumField {
        let start = self.start();
        ChecksumField { start: word(start), offset: word(self.checksum_at() - start) }
    }

    /// What a device says about the packet as a super packet of segments with `size` bytes of payload.
    pub(crate) fn offload(&self, size: u16) -> Offload {
        let kind = match (self.is_udp, self.is_ipv6) {
            (true, _) => SegmentKind::Udp,
            (false, false) => SegmentKind::Tcp4,
            (false, true) => SegmentKind::Tcp6,
        };
        Offload {
            checksum: Some(self.field()),
            is_verified: false,
            segmentation: Some(Segmentation { kind, size, is_ecn: false }),
            header_len: word(self.header_len()),
        }
    }

    /// The packet with the folded sum of the pseudo-header in its checksum field.
    pub(crate) fn partial(&self) -> Vec<u8> {
        let mut packet = self.without_checksum();
        let sum = !self.pseudo_header_and(&packet, &[]);
        packet[self.checksum_at()..][..2].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// The packet with its checksum.
    pub(crate) fn complete(&self) -> Vec<u8> {
        let mut packet = self.without_checksum();
        let sum = match self.pseudo_header_and(&packet, &packet[self.start()..]) {
            0 => 0xffff,
            sum => sum,
        };
        packet[self.checksum_at()..][..2].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// Whether the checksums of a packet with these headers are right: that of IPv4 and that of TCP or UDP.
    pub(crate) fn has_valid_checksums(&self, packet: &[u8]) -> bool {
        let is_ip_valid = self.is_ipv6 || naive_checksum(&packet[..self.start()]) == 0;
        is_ip_valid && self.pseudo_header_and(packet, &packet[self.start()..]) == 0
    }

    /// Checksum over the pseudo-header of `packet` and over `bytes`.
    pub(crate) fn pseudo_header_and(&self, packet: &[u8], bytes: &[u8]) -> u16 {
        let mut summed = packet[if self.is_ipv6 { 8..40 } else { 12..20 }].to_vec();
        summed.extend(u32::try_from(packet.len() - self.start()).unwrap().to_be_bytes());
        summed.extend([0, 0, 0, self.protocol()]);
        summed.extend(bytes);
        naive_checksum(&summed)
    }

    fn protocol(&self) -> u8 {
        if self.is_udp { 17 } else { 6 }
    }

    fn without_checksum(&self) -> Vec<u8> {
        let mut packet = if self.is_ipv6 { self.ipv6() } else { self.ipv4() };
        for port in self.ports {
            packet.extend(port.to_be_bytes());
        }
        if self.is_udp {
            packet.extend(word(8 + self.payload.len()).to_be_bytes());
            packet.extend([0, 0]);
        } else {
            packet.extend(self.sequence.to_be_bytes());
            packet.extend(self.acknowledgement.to_be_bytes());
            packet.extend([(5 + self.tcp_options) << 4, self.flags]);
            packet.extend(self.window.to_be_bytes());
            packet.extend([0, 0]);
            packet.extend(self.urgent.to_be_bytes());
            packet.extend([self.option_bytes[1]].repeat(4 * usize::from(self.tcp_options)));
        }
        packet.extend(&self.payload);
        packet
    }

    fn ipv4(&self) -> Vec<u8> {
        let mut header = vec![0x45 + self.ip_options, self.traffic_class];
        header.extend(word(self.header_len() + self.payload.len()).to_be_bytes());
        header.extend(self.identification.to_be_bytes());
        header.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, self.ttl, self.protocol(), 0, 0]);
        header.extend([10, 0, 0, self.host, 10, 0, 1, 2]);
        header.extend([self.option_bytes[0]].repeat(4 * usize::from(self.ip_options)));
        let sum = naive_checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn ipv6(&self) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, self.flow_label];
        header[0] |= self.traffic_class >> 4;
        header[1] |= self.traffic_class << 4;
        header.extend(word(self.header_len() + self.payload.len() - 40).to_be_bytes());
        header.extend([if self.ip_options > 0 { 60 } else { self.protocol() }, self.ttl]);
        header.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, self.host]);
        header.extend([0xfd, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        for left in (0..self.ip_options).rev() {
            header.extend([if left > 0 { 60 } else { self.protocol() }, 0, 1, 4, 0, 0, 0, 0]);
        }
        header
    }
}

/// The packets of a batch in one buffer, with junk between them.
#[derive(Default)]
pub(crate) struct Arena {
    pub(crate) bytes: Vec<u8>,
    pub(crate) packets: Vec<Range<usize>>,
}

impl Arena {
    pub(crate) fn of<'a>(packets: impl IntoIterator<Item = &'a Vec<u8>>) -> Self {
        let mut arena = Self::default();
        for packet in packets {
            arena.bytes.extend([0xaa; 16]);
            let start = arena.bytes.len();
            arena.bytes.extend(packet);
            arena.packets.push(start..arena.bytes.len());
        }
        arena
    }

    /// What a device is given: offload header and packet of every frame.
    pub(crate) fn drain(&self, coalescer: &mut Coalescer) -> Vec<(Offload, Vec<u8>)> {
        let mut frames = Vec::new();
        coalescer.drain(|frame| {
            let offload = Offload::parse(frame.head).unwrap();
            let mut packet = frame.head[Offload::LEN..].to_vec();
            for piece in frame.pieces {
                packet.extend(&self.bytes[piece.clone()]);
            }
            assert_eq!(frame.total_len(), split(&packet, &offload).unwrap().total_len());
            frames.push((offload, packet));
        });
        frames
    }
}

/// The frames of a batch of `packets`.
pub(crate) fn coalesce(packets: &[Vec<u8>], partial: bool) -> Vec<(Offload, Vec<u8>)> {
    let arena = Arena::of(packets);
    let mut coalescer = Coalescer::new(true);
    for packet in &arena.packets {
        coalescer.push(&arena.bytes, packet.clone(), partial);
    }
    arena.drain(&mut coalescer)
}

/// All segments of a packet.
pub(crate) fn cut(packet: &[u8], offload: &Offload, checksum: L4Checksum) -> Vec<Vec<u8>> {
    let segments = split(packet, offload).unwrap();
    let write = |index| {
        let mut out = vec![0xee; segments.len_of(index) + 3];
        let len = segments.write(index, &mut out, checksum).unwrap();
        assert_eq!(out.split_off(len), [0xee; 3], "nothing behind the segment is touched");
        out
    };
    let written: Vec<_> = (0..segments.count()).map(write).collect();
    assert_eq!(segments.total_len(), written.iter().map(Vec::len).sum::<usize>());
    written
}

/// `len` bytes that differ with `seed`.
pub(crate) fn payload(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(step).collect()
}

/// RFC 1071, section 4.1, word by word.
fn naive_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !word(usize::try_from(sum).unwrap())
}

fn word(number: usize) -> u16 {
    u16::try_from(number).unwrap()
}

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;
