//! Time per 1400 byte packet of the packet path, and the steps it consists of. Run with `--release`.
#![expect(clippy::print_stdout, reason = "the numbers are what it is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use base64_simd::{Out, STANDARD};
use md5::{Digest, Md5};
use tunmesh_protocol::{
    BodyDigest, Decoder, Encoder, NodeId, Secret, Stamp, Token, UnixTime, Windows, authorize, verify,
};

fn main() {
    let node = NodeId::from_random([7; 16]);
    let data: Vec<u8> = (0..PACKET_LEN).map(|byte| (byte * 31) as u8).collect();
    let stamp = Stamp::from_raw(1_927_557_009_035_656_704);
    let (encoder, mut decoder, mut body) = (Encoder::new(&node), Decoder::new(), Vec::new());

    per_packet("encode_batch", BATCH, || {
        body.clear();
        encoder.begin_batch(&mut body);
        for _ in 0..BATCH {
            encoder.push(0x0800, black_box(&data), stamp, &mut body);
        }
        encoder.finish_batch(&mut body);
    });
    per_packet("decode_batch, as we write it", BATCH, || count(&mut decoder, &body));
    let wrapped = wrap(&body);
    per_packet("decode_batch, as the original writes it", BATCH, || count(&mut decoder, &wrapped));
    let spaced = String::from_utf8(body.clone()).expect("JSON is UTF-8").replace("{", "{ ").into_bytes();
    per_packet("decode_batch, any other JSON", BATCH, || count(&mut decoder, &spaced));

    let mut base64 = Vec::with_capacity(2 * PACKET_LEN);
    per_packet("  md5", 1, || {
        black_box(Md5::digest(black_box(&data)));
    });
    per_packet("  base64 encode", 1, || {
        base64.clear();
        STANDARD.encode_append(black_box(&data), &mut base64);
    });
    let mut plain = vec![0; PACKET_LEN];
    per_packet("  base64 decode", 1, || {
        STANDARD.decode(black_box(&base64), Out::from_slice(&mut plain)).expect("it was just encoded");
    });
    per_packet("BodyDigest::of a batch", BATCH, || {
        black_box(BodyDigest::of(black_box(&body)));
    });

    let token = Token::session("id", &Secret::from_bytes(vec![7; 64]));
    let (digest, now) = (BodyDigest::of(&body), UnixTime::new(Duration::from_secs(1_795_177_342)));
    let header = authorize(&token, &node, &node, digest, &Windows::default(), now);
    let per_message = time(|| {
        black_box(authorize(&token, &node, &node, digest, &Windows::default(), now));
    });
    println!("authorize, per message: {per_message:.0} ns");
    let per_message = time(|| {
        verify(header.as_bytes(), &[&token], &node, now).and_then(|v| v.matches(digest)).expect("it was just signed");
    });
    println!("verify, per message: {per_message:.0} ns");
}

fn count(decoder: &mut Decoder, body: &[u8]) {
    let mut bytes = 0;
    decoder
        .decode_batch(black_box(body), |packet| bytes += packet.expect("a good packet").data.len())
        .expect("a batch");
    assert_eq!(bytes, BATCH * PACKET_LEN, "all packets were read");
}

/// Breaks the base64 of a batch into lines as the original does.
fn wrap(body: &[u8]) -> Vec<u8> {
    let packets: Vec<String> = serde_json::from_slice(body).expect("a batch");
    let wrap = |packet: &String| {
        let (head, rest) = packet.split_once("b64_data\":\"").expect("a packet");
        let (base64, tail) = rest.split_once('"').expect("a packet");
        let lines: String =
            base64.as_bytes().chunks(60).flat_map(|line| [line, b"\\n"].concat()).map(char::from).collect();
        format!("{head}b64_data\":\"{lines}\"{tail}")
    };
    serde_json::to_vec(&packets.iter().map(wrap).collect::<Vec<_>>()).expect("texts serialise")
}

fn per_packet(what: &str, packets: usize, step: impl FnMut()) {
    let nanos = time(step) / packets as f64;
    println!("{what}: {nanos:.0} ns per packet, {:.0} MB/s", PACKET_LEN as f64 * 1000.0 / nanos);
}

/// Nanoseconds per call, the best of ten runs of about 50 ms.
fn time(mut step: impl FnMut()) -> f64 {
    let run = |step: &mut dyn FnMut()| {
        let (start, mut calls) = (Instant::now(), 0_u32);
        while start.elapsed() < Duration::from_millis(50) {
            (0..16).for_each(|_| step());
            calls += 16;
        }
        start.elapsed().as_nanos() as f64 / f64::from(calls)
    };
    (0..10).map(|_| run(&mut step)).fold(f64::INFINITY, f64::min)
}

const BATCH: usize = 64;
const PACKET_LEN: usize = 1400;
