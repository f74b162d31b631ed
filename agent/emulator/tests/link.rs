//! The program between two scratch namespaces. Needs root, /dev/net/tun and `ping`.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tunmesh_sys::netns::Netns;

#[test]
fn a_ping_takes_the_delay_of_both_ways() {
    let link = Emulator::start(&["delay=20"]);

    let round_trip = link.ping("10.77.0.2").unwrap();

    assert!((40.0..200.0).contains(&round_trip), "{round_trip} ms");
    assert!(link.ping("fd77::2").unwrap() >= 40.0);
}

#[test]
fn a_stream_crosses_in_super_packets_until_single_packets_matter() {
    let mut link = Emulator::start(&[]);
    link.stream();
    let joined = link.counter("from_a", "received");
    assert!(joined < STREAM_BYTES as u64 / MTU / 2, "{joined} packets read");

    assert_eq!(link.ask("set loss 1"), "ok");
    link.stream();

    let single = link.counter("from_a", "received") - joined;
    assert!(single >= STREAM_BYTES as u64 / MTU, "{single} packets read");
    // 1 % of at least 2,796: fewer than 8 has a chance below 1 in 100,000.
    let lost = link.counter("from_a", "lost");
    assert!((8..=200).contains(&lost), "{lost} of {single} packets lost");
}

#[test]
fn a_stream_survives_reordering_duplicates_and_a_rate() {
    let mut link = Emulator::start(&["delay=2", "jitter=1", "reorder=1", "duplicate=1", "rate=200"]);
    let started_at = Instant::now();

    link.stream();

    let least = Duration::from_secs_f64(STREAM_BYTES as f64 * 8.0 / 200e6);
    assert!(started_at.elapsed() >= least - QUEUE, "{:?} for a stream of {least:?}", started_at.elapsed());
    assert!(link.counter("from_a", "reordered") > 0 && link.counter("from_a", "duplicated") > 0);
}

#[test]
fn udp_can_be_blocked_and_let_through_again() {
    let mut link = Emulator::start(&[]);
    let receiver = link.netns[1].run(|| UdpSocket::bind("10.77.0.2:9000")).unwrap().unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let sender = link.netns[0].run(|| UdpSocket::bind("10.77.0.1:9000")).unwrap().unwrap();

    assert_eq!(link.ask("set block udp"), "ok");
    sender.send_to(b"blocked", "10.77.0.2:9000").unwrap();
    link.eventually("from_a", "blocked", 1);
    link.ping("10.77.0.2").unwrap();
    assert_eq!(link.ask("set block none"), "ok");
    sender.send_to(b"let through", "10.77.0.2:9000").unwrap();

    let mut received = [0; 64];
    let len = receiver.recv(&mut received).unwrap();
    assert_eq!(&received[..len], b"let through");
}

#[test]
fn what_is_wrong_is_said_and_changes_nothing() {
    let mut link = Emulator::start(&[]);

    for (line, expected) in [
        ("set loss 101", "error: \"101\" is no percentage from 0 to 100"),
        ("set", "error: no command \"set\": set NAME VALUE, or stats"),
        ("stop", "error: no command \"stop\": set NAME VALUE, or stats"),
    ] {
        assert_eq!(link.ask(line), expected);
    }

    assert!(link.ping("10.77.0.2").unwrap() < 40.0);
    let refused = Emulator::command(&link.netns).arg("--set=speed=1").output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("no impairment \"speed\""));
}

#[test]
fn the_devices_go_with_standard_input() {
    let mut link = Emulator::start(&[]);

    drop(link.stdin.take());

    assert!(link.child.wait().unwrap().success());
    let mut command = Command::new("ip");
    link.netns[0].join_on_exec(command.args(["-o", "link", "show", "type", "tun"])).unwrap();
    assert_eq!(command.output().unwrap().stdout, b"");
}

const STREAM_BYTES: usize = 4 << 20;
const MTU: u64 = 1500;
/// How much of the stream the queue of the rate limit may hold when the last byte is acknowledged.
const QUEUE: Duration = Duration::from_millis(50);

/// The program, between two namespaces of its own.
struct Emulator {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    netns: [Netns; 2],
}

impl Emulator {
    fn start(settings: &[&str]) -> Self {
        let netns = [Netns::create().unwrap(), Netns::create().unwrap()];
        let mut command = Self::command(&netns);
        command.args(settings.iter().map(|setting| format!("--set={setting}")));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut link = Self { stdin: child.stdin.take(), child, answers, netns };
        assert_eq!(link.answers.next().unwrap().unwrap(), "ready");
        link
    }

    fn command(netns: &[Netns; 2]) -> Command {
        let path = |netns: &Netns| format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd());
        let mut command = Command::new(env!("CARGO_BIN_EXE_tunmesh-emulator"));
        command.args(["--netns-a", &path(&netns[0]), "--netns-b", &path(&netns[1]), "--seed=5"]);
        command.args(["--address-a=10.77.0.1/24", "--address-a=fd77::1/64"]);
        command.args(["--address-b=10.77.0.2/24", "--address-b=fd77::2/64"]);
        command
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        self.answers.next().unwrap().unwrap()
    }

    fn counter(&mut self, way: &str, name: &str) -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&self.ask("stats")).unwrap();
        stats[way][name].as_u64().unwrap()
    }

    fn eventually(&mut self, way: &str, name: &str, expected: u64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.counter(way, name) < expected {
            assert!(Instant::now() < deadline, "{way}.{name} never reached {expected}");
        }
    }

    /// Round trip in milliseconds of one ping from the first namespace.
    fn ping(&self, address: &str) -> Option<f64> {
        let mut command = Command::new("ping");
        self.netns[0].join_on_exec(command.args(["-n", "-c", "1", "-W", "5", address])).unwrap();
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        output.split_once("time=")?.1.split_once(' ')?.0.parse().ok()
    }

    /// Sends a stream from the first namespace to the second, and checks it.
    fn stream(&self) {
        let sent: Vec<u8> = (0..STREAM_BYTES).map(|number| (number / 251 + number) as u8).collect();
        let listener = self.netns[1].run(|| TcpListener::bind("10.77.0.2:5001")).unwrap().unwrap();
        let received = std::thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                let mut received = Vec::new();
                listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
                received
            });
            let mut client = self.netns[0].run(|| TcpStream::connect("10.77.0.2:5001")).unwrap().unwrap();
            client.write_all(&sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            receiving.join().unwrap()
        });
        assert!(received == sent, "the stream was altered");
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
