//! Replacing sessions of the v0 protocol while packets are under way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crate::support::{Lab, SLOW, overlay, wait_for};
use crate::wire::{LIMIT, echo_once, noise, udp};

#[test]
fn ten_rotations_lose_no_packet_and_break_no_stream() {
    let lab = Lab::new(2);
    let _agents = [1, 2].map(|number| lab.start_v0(number, ROTATING));
    lab.wait_for_mesh(&[1, 2]);
    // Pings before the mesh was up had no route.
    let before = [1, 2].map(|number| lab.ask(number).unwrap()["drops"].clone());
    let (done, received) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; 2]);
    let ends = [1, 2].map(|number| udp(&lab, number, 7000));

    thread::scope(|scope| {
        // Also when the test fails in between, or its threads would go on for ever.
        let _stop = StopWhenDropped(&done);
        let stream = scope.spawn(|| keep_echoing(&lab, &done));
        let senders = [(0, 2), (1, 1)].map(|(end, to): (usize, usize)| {
            let (socket, done) = (&ends[end], &done);
            scope.spawn(move || keep_sending(socket, to, done))
        });
        for (socket, received) in ends.iter().zip(&received) {
            let done = &done;
            scope.spawn(move || count_until(socket, received, done));
        }

        wait_for_rotations(&lab, 10);

        done.store(true, Relaxed);
        assert!(stream.join().unwrap() > 0, "the stream stood still");
        let sent = senders.map(|sender| sender.join().unwrap());
        wait_for(&format!("all of {sent:?} datagrams arrive, {received:?} have"), SLOW, || {
            // Those of each end arrive at the other.
            received[1].load(Relaxed) == sent[0] && received[0].load(Relaxed) == sent[1]
        });
    });

    assert_eq!([1, 2].map(|number| lab.ask(number).unwrap()["drops"].clone()), before);
}

struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Waits until either node has replaced its session to the other so many times.
fn wait_for_rotations(lab: &Lab, times: usize) {
    let mut ages = [f64::MAX; 2];
    // The first look at a session is no rotation.
    let mut rotations = [-1_isize; 2];
    wait_for("the sessions are replaced", SLOW, || {
        for (index, (from, to)) in [(1, 2), (2, 1)].into_iter().enumerate() {
            let age = lab.peer(from, to).unwrap()["session_secs"].as_f64().expect("a session at all times");
            rotations[index] += isize::from(age < ages[index]);
            ages[index] = age;
        }
        rotations.iter().all(|seen| *seen >= times.cast_signed())
    });
}

/// Sends blocks through one TCP connection, each answered by itself, and returns how many.
fn keep_echoing(lab: &Lab, done: &AtomicBool) -> u64 {
    let listener = lab.netns(2).run(|| TcpListener::bind((overlay(2), 7001))).unwrap().unwrap();
    let mut stream = lab.netns(1).run(|| TcpStream::connect((overlay(2), 7001))).unwrap().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| echo_once(&listener));
        let mut blocks = 0;
        while !done.load(Relaxed) {
            let block = noise(blocks, 8 << 10);
            let mut back = vec![0; block.len()];
            stream.write_all(&block).unwrap();
            stream.read_exact(&mut back).unwrap();
            assert!(back == block, "block {blocks}");
            blocks += 1;
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        blocks
    })
}

/// Sends about a thousand datagrams a second and returns how many in all.
fn keep_sending(socket: &UdpSocket, to: usize, done: &AtomicBool) -> usize {
    let mut sent = 0;
    while !done.load(Relaxed) {
        socket.send_to(&[0; 200], (overlay(to), 7000)).unwrap();
        sent += 1;
        thread::park_timeout(Duration::from_millis(1));
    }
    sent
}

/// Counts datagrams until none has come for a while after the end.
fn count_until(socket: &UdpSocket, received: &AtomicUsize, done: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    loop {
        match socket.recv(&mut [0; 256]) {
            Ok(_) => {
                received.fetch_add(1, Relaxed);
            }
            Err(_) if done.load(Relaxed) => return,
            Err(_) => {}
        }
    }
}

/// Sessions are replaced within half a second of their making. A busy machine must not look like a lossy one, so packets
/// and requests may wait longer than they usually do.
const ROTATING: &str = "    timing:
      request_timeout: 10
      auth: {session_max_age: 0.5}
      network: {local: {packet_expiration: 10}}
";
