//! The table of our own. Needs root, and the `nft` program to look at it.

mod support;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use nix::sys::socket::{getsockopt, sockopt};
use support::{as_user, eventually, example, ip, net};
use tunmesh_sys::netns::Netns;
use tunmesh_sys::nft::{NftError, OwnedTable};
use tunmesh_sys::star::{VethEnd, veth_pair};

#[test]
fn the_table_clamps_both_directions_and_goes_when_dropped() {
    let netns = Netns::create().unwrap();

    let table = netns.run(|| OwnedTable::clamp_segment_size("mesh0")).unwrap().unwrap();

    let rules = ruleset(&netns);
    for expected in [
        "table inet tunmesh {",
        "flags owner",
        "type filter hook postrouting priority mangle; policy accept;",
        "oifname \"mesh0\" tcp flags ",
        "iifname \"mesh0\" tcp flags ",
        "tcp option maxseg size set rt mtu",
    ] {
        assert!(rules.contains(expected), "no {expected} in\n{rules}");
    }
    drop(table);
    eventually("the table gone", || ruleset(&netns).is_empty().then_some(()));
}

#[test]
fn the_table_goes_when_its_process_is_killed() {
    let netns = Netns::create().unwrap();
    let mut command = Command::new(example("secluded"));
    command.args(["table", "mesh0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    netns.join_on_exec(&mut command).unwrap();
    let mut owner = command.spawn().unwrap();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    assert!(ruleset(&netns).contains("flags owner"));
    let refused = netns.run(|| OwnedTable::clamp_segment_size("mesh1")).unwrap();
    assert!(matches!(refused, Err(NftError::Taken)), "{refused:?}");

    owner.kill().unwrap();
    owner.wait().unwrap();

    eventually("the table gone", || ruleset(&netns).is_empty().then_some(()));
}

#[test]
fn a_table_of_that_name_made_by_another_program_is_left_alone() {
    let netns = Netns::create().unwrap();
    nft(&netns, "add table inet tunmesh");

    let refused = netns.run(|| OwnedTable::clamp_segment_size("mesh0")).unwrap();

    assert!(matches!(refused, Err(NftError::Taken)), "{refused:?}");
    assert_eq!(ruleset(&netns), "table inet tunmesh {\n}\n");
}

#[test]
fn a_user_without_privileges_is_told_what_is_missing() {
    let netns = Netns::create().unwrap();

    let refused = netns.run(|| as_user(65532, || OwnedTable::clamp_segment_size("mesh0"))).unwrap();

    assert!(matches!(refused, Err(NftError::NotPermitted)), "{refused:?}");
}

#[test]
fn forwarded_connections_agree_on_segments_that_fit_the_device() {
    // A client and a server with Ethernet's MTU, and a router between them whose way to the server is narrower.
    let [client, router, server] = [(); 3].map(|()| Netns::create().unwrap());
    let end = |netns, name, address, mtu| VethEnd { netns, name, address: Some(net(address)), mtu };
    let (near, far) = (end(&client, "eth0", "10.1.0.1/24", 1500), end(&router, "near0", "10.1.0.2/24", 1500));
    veth_pair(&near, &far).unwrap();
    let (near, far) = (end(&router, "mesh0", "10.2.0.1/24", 1300), end(&server, "eth0", "10.2.0.2/24", 1500));
    veth_pair(&near, &far).unwrap();
    ip(&client, "route add default via 10.1.0.2");
    ip(&server, "route add default via 10.2.0.1");
    router.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap().unwrap();
    let listener = server.run(|| TcpListener::bind("10.2.0.2:7000")).unwrap().unwrap();
    let segment_sizes = || {
        let connected = client.run(|| TcpStream::connect("10.2.0.2:7000")).unwrap().unwrap();
        let accepted = listener.accept().unwrap().0;
        [connected, accepted].map(|stream| getsockopt(&stream, sockopt::TcpMaxSeg).unwrap())
    };
    // 1500 without the headers of IPv4 and TCP (40) and the timestamps (12).
    assert_eq!(segment_sizes(), [1448, 1448]);

    let _table = router.run(|| OwnedTable::clamp_segment_size("mesh0")).unwrap().unwrap();

    assert_eq!(segment_sizes(), [1248, 1248]);
}

fn ruleset(netns: &Netns) -> String {
    nft(netns, "list ruleset")
}

fn nft(netns: &Netns, arguments: &str) -> String {
    support::output(netns, Command::new("nft").args(arguments.split(' ')))
}
