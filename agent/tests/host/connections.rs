//! Connections to the control API and the status socket: versions of TLS, that none leaves anything behind, and what a node
//! does that can take no more.

use std::fs;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::Stdio;

use crate::support::{Lab, SLOW, https, wait_for};

#[test]
fn tls_1_2_and_1_3_are_spoken_and_1_1_is_not() {
    let lab = Lab::new(2);
    let _agent = lab.start(1, "");
    wait_for("the node runs", SLOW, || lab.ask(1).is_some());
    let connect = |version: &str| {
        let options = ["s_client", "-connect", "10.77.0.1:4567", version, "-cipher", "ALL:@SECLEVEL=0"];
        let output = lab.run(2, "openssl", &options);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };

    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let output = connect(version);
        assert!(output.contains(&format!("New, {name}, Cipher is")), "{output}");
        assert!(output.contains("CN = tunmesh.local") || output.contains("CN=tunmesh.local"), "{output}");
    }
    let old = connect("-tls1_1");
    assert!(old.contains("no peer certificate available"), "{old}");
    assert!(old.contains("SSL alert number"), "the server says no, not the client: {old}");
}

#[test]
fn descriptors_and_memory_do_not_grow_over_200_short_connections() {
    let lab = Lab::new(2);
    let agent = lab.start(1, "");
    wait_for("the node runs", SLOW, || lab.ask(1).is_some());
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count();
    let resident = || lab.ask(1).unwrap()["resident_bytes"].as_u64().unwrap();
    let connect = |count: usize| {
        for number in 0..count {
            match number % 4 {
                0 => assert_eq!(https::get(lab.netns(2), 1, "/health").0, 503),
                1 => drop(https::certificate(lab.netns(2), 1)),
                // Gone in the middle of the handshake, and before it.
                2 => drop(https::open(lab.netns(2), 1)),
                _ => drop(lab.netns(2).run(|| TcpStream::connect("10.77.0.1:4567")).unwrap().unwrap()),
            }
        }
    };
    let at_first = descriptors();
    connect(40);
    wait_for("the first connections are gone", SLOW, || descriptors() <= at_first);
    let before = resident();

    connect(200);

    wait_for("all connections are gone", SLOW, || descriptors() <= at_first);
    let grown = resident().saturating_sub(before);
    assert!(grown < 2 << 20, "{grown} bytes");
}

#[test]
fn a_node_without_descriptors_goes_on_and_answers_again_once_there_are_some() {
    let lab = Lab::new(1);
    let config = lab.config(1, "");
    let agent = lab.start_by(1, &["prlimit", "--nofile=60:64", &lab.binary()], Stdio::null(), &config);
    wait_for("the node runs", SLOW, || lab.ask(1).is_some());
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().next(), Some("64"), "the node takes what it may have");

    // None of them says anything, so the node keeps them for 5 s.
    let open = || TcpStream::connect("10.77.0.1:4567").unwrap();
    let silent: Vec<_> = lab.netns(1).run(|| std::iter::repeat_with(open).take(200).collect()).unwrap();
    let address = SocketAddr::from_abstract_name("tunmesh-status.tun1").unwrap();
    wait_for("the status socket fails", SLOW, || {
        drop(lab.netns(1).run(|| UnixStream::connect_addr(&address)).unwrap());
        agent.log().contains("failed to accept a connection to the status socket")
    });

    drop(silent);
    wait_for("the node answers again", SLOW, || lab.ask(1).is_some());
}
