//! SIGTERM.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};

use crate::support::{Lab, SLOW, overlay, wait_for};

#[test]
fn a_node_told_to_stop_exits_with_0_within_a_second() {
    let lab = Lab::new(2);
    let [_first, mut second] = [1, 2].map(|number| lab.start(number, ""));
    lab.wait_for_mesh(&[1, 2]);

    let start = Instant::now();
    second.signal(Signal::SIGTERM);

    assert_eq!(second.wait(), 0);
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
}

#[test]
fn packets_taken_before_the_stop_still_leave() {
    let lab = Lab::new(2);
    let [mut first, second] = [1, 2].map(|number| {
        let file = lab.config_v0(number, PATIENT);
        lab.edit(&file, "control_api:\n", "control_api:\n    max_batch_size: 8\n");
        lab.start_from(number, &file)
    });
    lab.wait_for_mesh(&[1, 2]);
    let [sender, receiver] =
        [1, 2].map(|number| lab.netns(number).run(|| UdpSocket::bind((overlay(number), 7000))).unwrap().unwrap());
    receiver.set_read_timeout(Some(BOUND)).unwrap();
    let taken = || lab.ask(1).unwrap()["tun_rx"]["packets"].as_u64().unwrap();
    let before = taken();

    // The receiver holds still, so that the sender has requests unanswered and packets queued behind them.
    second.signal(Signal::SIGSTOP);
    for _ in 0..COUNT {
        sender.send_to(b"x", (overlay(2), 7000)).unwrap();
    }
    wait_for("the node has taken them all", SLOW, || taken() == before + COUNT);
    assert!(lab.peer(1, 2).unwrap()["queued_packets"].as_u64().unwrap() > 0);
    first.signal(Signal::SIGTERM);
    first.wait_for_log(1, "stopping on SIGTERM");
    second.signal(Signal::SIGCONT);

    assert_eq!(first.wait(), 0);
    let arrived = (0..COUNT).take_while(|_| receiver.recv(&mut [0; 8]).is_ok()).count();
    assert_eq!(arrived as u64, COUNT);
}

#[test]
fn packets_in_a_stream_still_leave_and_the_stream_is_closed() {
    let lab = Lab::new(2);
    let [mut first, second] = [1, 2].map(|number| {
        let file = lab.config(number, PATIENT);
        lab.edit(&file, "networking:\n", "networking:\n    data_plane: {paths: [stream]}\n");
        lab.start_from(number, &file)
    });
    lab.wait_for_mesh(&[1, 2]);
    let [sender, receiver] =
        [1, 2].map(|number| lab.netns(number).run(|| UdpSocket::bind((overlay(number), 7000))).unwrap().unwrap());
    receiver.set_read_timeout(Some(BOUND)).unwrap();
    setsockopt(&receiver, sockopt::RcvBufForce, &(16 << 20)).unwrap();

    // The receiver holds still, so that everything between fills up, the node's own queue last.
    second.signal(Signal::SIGSTOP);
    let queued = || lab.peer(1, 2).unwrap()["queued_packets"].as_u64().unwrap();
    let mut sent = 0;
    wait_for("packets wait in the queue", SLOW, || {
        for _ in 0..20 {
            sender.send_to(&[7; 1300], (overlay(2), 7000)).unwrap();
        }
        sent += 20;
        queued() > 20
    });
    assert_eq!(lab.drops(1, "queue_full"), 0);
    first.signal(Signal::SIGTERM);
    first.wait_for_log(1, "stopping on SIGTERM");
    second.signal(Signal::SIGCONT);

    assert_eq!(first.wait(), 0);
    let arrived = (0..sent).take_while(|_| receiver.recv(&mut [0; 1500]).is_ok()).count();
    assert_eq!(arrived, sent);
}

/// Within a second on an idle machine.
const BOUND: Duration = Duration::from_secs(3);

/// More batches than may be unanswered, and no more packets than the receiving socket keeps unread.
const COUNT: u64 = 200;

/// A node that holds still must not look like one that is gone.
const PATIENT: &str = "    timing:
      request_timeout: 10
      network: {local: {packet_expiration: 10}}
";
