use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::config::tests::{read, valid};
use crate::config::{Config, Problems};

/// A public key as `wg pubkey` prints it, with its first and last byte.
const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const KEY_ENDS: (u8, u8) = (0xc5, 0x38);

/// A valid file with `lines` below `networking`, indented by four.
fn with(lines: &str) -> String {
    valid().replace("  networking:\n", &format!("  networking:\n    {lines}\n"))
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|problems| panic!("{problems}\n{text}")).config
}

fn bad(text: &str) -> Problems {
    read(text).err().unwrap_or_else(|| panic!("accepted:\n{text}"))
}

/// The one problem of each file: key below `tun_mesh`, value found, and a part of the fix.
fn refuses(cases: &[(String, &str, &str, &str)]) {
    for (text, path, value, fix) in cases {
        let problems = bad(text);
        let [problem] = &problems.0[..] else { panic!("not one problem: {problems}\n{text}") };
        assert_eq!(problem.path, format!("tun_mesh/{path}"), "{problems}");
        assert_eq!(problem.value.as_deref(), Some(*value), "{problems}");
        assert!(problem.fix.contains(fix), "{fix:?} is not in: {problems}");
        assert!(problem.line.is_some(), "{problems}");
    }
}

#[test]
fn without_new_keys_the_defaults_hold() {
    let networking = good(&valid()).networking;

    assert_eq!(
        networking.data_plane,
        DataPlane {
            advertise_endpoints: Vec::new(),
            keepalive: None,
            listen_port: 4567,
            paths: Paths { stream: true, udp: true, v0: true },
            suite: SuiteChoice::Auto,
            workers: None,
        }
    );
    let network = mesh_ipv6_network("192.168.129.0/24".parse().unwrap());
    let address = mesh_ipv6(network, Ipv4Addr::new(192, 168, 129, 10));
    assert_eq!(networking.ipv6, Some(Ipv6 { address, network }));
    assert!(networking.wireguard_peers.is_empty());
    assert_eq!(networking.mtu, 1420);
}

#[test]
fn the_data_plane_is_read() {
    let text = with(
        "data_plane: {advertise_endpoints: [192.0.2.1:4567, '[2001:db8::1]:500'], keepalive: 25, listen_port: 500, \
         paths: [v0, udp], suite: aegis, workers: 3}",
    );

    let found = good(&text).networking.data_plane;

    let endpoints: Vec<SocketAddr> = vec!["192.0.2.1:4567".parse().unwrap(), "[2001:db8::1]:500".parse().unwrap()];
    assert_eq!(
        found,
        DataPlane {
            advertise_endpoints: endpoints,
            keepalive: Some(Duration::from_secs(25)),
            listen_port: 500,
            paths: Paths { stream: false, udp: true, v0: true },
            suite: SuiteChoice::Aegis,
            workers: NonZeroUsize::new(3),
        }
    );
}

#[test]
fn zeros_of_the_data_plane_stand_for_their_defaults() {
    for zero in ["0", "0s", "0.0"] {
        let text = with(&format!("data_plane: {{keepalive: {zero}, listen_port: 0, workers: 0, suite: chachapoly}}"))
            .replace("  control_api:\n", "  control_api:\n    listen_port: 7000\n");
        let found = good(&text).networking.data_plane;
        assert_eq!((found.keepalive, found.listen_port, found.workers), (None, 7000, None), "{zero}");
        assert_eq!(found.suite, SuiteChoice::ChaChaPoly);
    }
}

#[test]
fn bad_values_of_the_data_plane_are_refused() {
    let case = |keys: &str| with(&format!("data_plane: {{{keys}}}"));
    let mut cases = vec![
        (case("keepalive: 0.1"), "networking/data_plane/keepalive", "0.1", "0, or duration from 0.5 s to 3600 s"),
        (case("keepalive: often"), "networking/data_plane/keepalive", "often", "give seconds"),
        (case("listen_port: 65536"), "networking/data_plane/listen_port", "65536", "integer from 0 to 65535"),
        (case("paths: [tcp]"), "networking/data_plane/paths/0", "tcp", "one of udp, stream, v0"),
        (case("paths: [udp, v0, udp]"), "networking/data_plane/paths", "udp", "name each path once"),
        (case("paths: []"), "networking/data_plane/paths", "[]", "at least one of udp, stream, v0"),
        (case("paths: udp"), "networking/data_plane/paths", "udp", "give a list"),
        (case("suite: des"), "networking/data_plane/suite", "des", "one of auto, aegis, chachapoly"),
        (case("workers: 65"), "networking/data_plane/workers", "65", "integer from 0 to 64"),
    ];
    for endpoint in
        ["192.0.2.1", "192.0.2.1:0", "0.0.0.0:4567", "224.0.0.1:4567", "a:4567", "[fe80::1%2]:4567", "::1:4567"]
    {
        let text = case(&format!("advertise_endpoints: ['{endpoint}']"));
        cases.push((text, "networking/data_plane/advertise_endpoints/0", endpoint, "IP:port, IPv6 in brackets"));
    }
    refuses(&cases);
}

#[test]
fn the_ipv6_network_is_read() {
    let own = mesh_ipv6_network("192.168.129.0/24".parse().unwrap());
    for (keys, expected) in [
        ("enabled: false", None),
        ("enabled: true", Some((own, mesh_ipv6(own, Ipv4Addr::new(192, 168, 129, 10))))),
        ("network_cidr: 'fd00:1::7/48'", Some(("fd00:1::/48".parse().unwrap(), "fd00:1::c0a8:810a".parse().unwrap()))),
        (
            "network_cidr: 'fd00:1::/64', node_address: 'fd00:1::7'",
            Some(("fd00:1::/64".parse().unwrap(), "fd00:1::7".parse().unwrap())),
        ),
    ] {
        let found = good(&with(&format!("ipv6: {{{keys}}}"))).networking.ipv6;
        assert_eq!(found, expected.map(|(network, address)| Ipv6 { address, network }), "{keys}");
    }
}

#[test]
fn bad_values_of_ipv6_are_refused() {
    let case = |keys: &str| with(&format!("ipv6: {{{keys}}}"));
    let network = "networking/ipv6/network_cidr";
    let node = "networking/ipv6/node_address";
    refuses(&[
        (case("enabled: maybe"), "networking/ipv6/enabled", "maybe", "true or false"),
        (case("network_cidr: 'fd00::/65'"), network, "fd00::/65", "prefix of at most 64"),
        (case("network_cidr: 'fd00::'"), network, "fd00::", "prefix of at most 64"),
        (case("network_cidr: 10.0.0.0/8"), network, "10.0.0.0/8", "IPv6 address/prefix"),
        (case("node_address: 10.0.0.1"), node, "10.0.0.1", "give IPv6 address"),
        (case("node_address: '2001:db8::1'"), node, "2001:db8::1", "give an address within it"),
        (case("network_cidr: 'fd00::/64', node_address: 'fd00:0:0:1::1'"), node, "fd00:0:0:1::1", "correct"),
    ]);
}

#[test]
fn below_the_mtu_of_ipv6_there_is_none_and_a_warning_says_so() {
    for (keys, has_ipv6, warned) in [
        ("mtu: 1280", true, &[][..]),
        ("mtu: 1279", false, &["tun_mesh/networking/mtu"]),
        ("mtu: 1279\n    ipv6: {enabled: false}", false, &[]),
    ] {
        let parsed = read(&with(keys)).unwrap_or_else(|problems| panic!("{problems}"));
        let paths: Vec<_> = parsed.warnings.iter().map(|warning| warning.path.as_str()).collect();
        assert_eq!((parsed.config.networking.ipv6.is_some(), &paths[..]), (has_ipv6, warned), "{keys}");
    }
}

#[test]
fn wireguard_peers_are_read() {
    let text = with(&format!(
        "wireguard_peers:\n      my-phone_2: {{address: 192.168.129.70, public_key: {KEY}}}\n      b: {{address: 192.168.129.71}}"
    ));

    let peers = good(&text).networking.wireguard_peers;

    assert_eq!(peers.keys().collect::<Vec<_>>(), ["b", "my-phone_2"]);
    assert_eq!(peers["b"], WireGuardPeer { address: Ipv4Addr::new(192, 168, 129, 71), public_key: None });
    let key = peers["my-phone_2"].public_key.unwrap();
    assert_eq!((key[0], key[31]), KEY_ENDS);
    assert!(good(&with("wireguard_peers: {}")).networking.wireguard_peers.is_empty());
}

#[test]
fn bad_wireguard_peers_are_refused() {
    let peers = |peers: &str| with(&format!("wireguard_peers: {{{peers}}}"));
    let address = "networking/wireguard_peers/a/address";
    let key = "networking/wireguard_peers/a/public_key";
    let names = "networking/wireguard_peers";
    let mut cases = vec![
        (peers("a: {address: 10.0.0.1}"), address, "10.0.0.1", "within 192.168.129.0/24"),
        (peers("a: {address: 192.168.129.70/32}"), address, "192.168.129.70/32", "give IPv4 address"),
        (peers("a: {address: 'fd00::1'}"), address, "fd00::1", "give IPv4 address"),
        (
            peers("a: {address: 192.168.129.70}, b: {address: 192.168.129.70}"),
            "networking/wireguard_peers/b/address",
            "192.168.129.70",
            "that nobody has",
        ),
        (peers("a: 7"), "networking/wireguard_peers/a", "7", "put its keys below it"),
        (with("wireguard_peers: [a]"), names, "a list of 1", "give groups by name"),
    ];
    // Network and broadcast address of the mesh, broadcast address of the node's subnet, the node's own.
    for taken in ["192.168.129.0", "192.168.129.255", "192.168.129.63", "192.168.129.10"] {
        cases.push((peers(&format!("a: {{address: {taken}}}")), address, taken, "that nobody has"));
    }
    for wrong in ["x", "AAAA", &KEY[..43], "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8D-="] {
        let text = peers(&format!("a: {{address: 192.168.129.70, public_key: '{wrong}'}}"));
        cases.push((text, key, wrong, "wg pubkey"));
    }
    let long = "a".repeat(33);
    for name in ["", "a b", "a/b", "bär", &long] {
        cases.push((peers(&format!("'{name}': {{address: 192.168.129.70}}")), names, name, "at most 32"));
    }
    refuses(&cases);
}

#[test]
fn more_devices_than_a_node_can_tell_of_are_refused() {
    let devices = |count: u8| {
        let one = |number| format!("d{number}: {{address: 192.168.129.{}}}", 70 + number);
        with(&format!("wireguard_peers: {{{}}}", (0..count).map(one).collect::<Vec<_>>().join(", ")))
    };

    assert_eq!(good(&devices(16)).networking.wireguard_peers.len(), 16);
    refuses(&[(devices(17), "networking/wireguard_peers", "17 devices", "have other nodes serve the rest")]);
}

#[test]
fn a_wireguard_peer_without_an_address_or_with_the_key_of_another_is_refused() {
    let problems = bad(&with("wireguard_peers: {a: {}}"));
    assert_eq!(problems.0[0].path, "tun_mesh/networking/wireguard_peers/a/address");
    assert!(problems.0[0].fix.contains("add address: IPv4 address"), "{problems}");

    let peer = |last: u8| format!("{{address: 192.168.129.{last}, public_key: {KEY}}}");
    refuses(&[(
        with(&format!("wireguard_peers: {{a: {}, b: {}}}", peer(70), peer(71))),
        "networking/wireguard_peers/b/public_key",
        KEY,
        "a pair of keys for each peer",
    )]);
}

#[test]
fn address_certificates_need_an_authority() {
    let text = valid().replace("    auth:\n", "    auth:\n      address_certificates: true\n");
    let with_ca = |path: &str| text.replace("    ssl:\n", &format!("    ssl:\n      ca_file_path: {path}\n"));

    assert!(good(&with_ca("Cargo.toml")).clustering.auth.address_certificates);
    assert!(!good(&valid()).clustering.auth.address_certificates);
    refuses(&[
        (text.clone(), "clustering/auth/address_certificates", "true", "give control_api/ssl/ca_file_path"),
        (with_ca("none.pem"), "control_api/ssl/ca_file_path", "none.pem", "give the path of a PEM file"),
    ]);
}
