use std::time::Duration;

use tunmesh_packet::ETHERTYPE_IPV6;

use super::*;
use crate::settings::{Device, Timers};

/// The names are those of the recorded cases where there is one: `packet/*` and `broadcast/rx_*` for what comes in,
/// `broadcast/tx_*` and `broadcast/off_tx_*` for what goes out.
#[test]
fn what_goes_out_is_routed_or_dropped_as_by_the_original() {
    use DropReason::*;
    const NEAR: Reached = Ok(&["near", "near-41"]);
    const ALL: Reached = Ok(&["far", "near", "near-41"]);
    let cases: &[(&str, &str, Reached, Reached)] = &[
        // case, destination, with broadcasts off, with broadcasts on
        ("tx_unicast_known", "192.168.129.40", Ok(&["near"]), Ok(&["near"])),
        ("tx_unknown_dest", "192.168.129.77", Err(NoRoute), Err(NoRoute)),
        ("tx_outside_network", "8.8.8.8", Err(OutsideConfiguredNetwork), Err(OutsideConfiguredNetwork)),
        ("tx_multicast", "224.0.0.5", Err(Unsupported), Err(Unsupported)),
        ("tx_limited_broadcast", "255.255.255.255", Err(ConfigProhibited), NEAR),
        ("tx_mesh_broadcast", "192.168.129.255", Err(ConfigProhibited), ALL),
        // The original drops this one as unsupported even if broadcasts are on.
        ("tx_local_broadcast", "192.168.129.63", Err(ConfigProhibited), NEAR),
        // Not recorded: a host hardly sends these into the tunnel.
        ("own address", "192.168.129.10", Err(Misrouted), Err(Misrouted)),
        ("far", "192.168.129.100", Ok(&["far"]), Ok(&["far"])),
        ("a member outside the network", "203.0.113.9", Err(OutsideConfiguredNetwork), Err(OutsideConfiguredNetwork)),
        ("no address", "0.0.0.0", Err(OutsideConfiguredNetwork), Err(OutsideConfiguredNetwork)),
        ("last multicast", "239.255.255.255", Err(Unsupported), Err(Unsupported)),
        ("first of our subnet", "192.168.129.0", Err(NoRoute), Err(NoRoute)),
    ];
    for (case, destination, off, on) in cases {
        for (enabled, expected) in [(false, off), (true, on)] {
            let packet = ipv4("192.168.129.10", destination);
            let table = table(enabled);
            let outcome = table.outbound(&tunmesh_packet::parse(&packet).unwrap()).map(|to| match to {
                Outbound::Broadcast(ids) => ids.iter().map(NodeId::as_str).collect(),
                Outbound::Unicast(id) => vec![id.as_str()],
            });
            assert_eq!(outcome.as_deref(), expected.as_ref().copied(), "{case}, broadcasts {enabled}");
        }
    }
}

#[test]
fn what_goes_out_must_come_from_our_address() {
    let table = table(true);
    for (source, reason) in [
        ("192.168.129.40", DropReason::RouteConflict),
        ("192.168.129.99", DropReason::NoReturnRoute),
        ("0.0.0.0", DropReason::NoReturnRoute),
    ] {
        for destination in ["192.168.129.41", "192.168.129.255"] {
            let packet = ipv4(source, destination);
            assert_eq!(table.outbound(&tunmesh_packet::parse(&packet).unwrap()), Err(reason), "{source}");
        }
    }
}

#[test]
fn what_comes_in_is_taken_or_dropped_as_by_the_original() {
    use DropReason::*;
    const OK: Taken = Ok(());
    let cases: &[(&str, &str, &str, Taken, Taken)] = &[
        // case, source, destination, with broadcasts off, with broadcasts on; sent by the member at .40
        ("ok_echo", "192.168.129.40", "192.168.129.10", OK, OK),
        ("dst_other", "192.168.129.40", "192.168.129.41", Err(Misrouted), Err(Misrouted)),
        ("dst_outside", "192.168.129.40", "8.8.8.8", Err(Misrouted), Err(Misrouted)),
        ("dst_multicast", "192.168.129.40", "224.0.0.5", Err(Misrouted), Err(Misrouted)),
        ("dst_limited_broadcast", "192.168.129.40", "255.255.255.255", Err(ConfigProhibited), OK),
        ("dst_local_broadcast", "192.168.129.40", "192.168.129.63", Err(ConfigProhibited), OK),
        ("dst_mesh_broadcast", "192.168.129.40", "192.168.129.255", Err(ConfigProhibited), OK),
        ("src_ip_other_peer", "192.168.129.41", "192.168.129.10", Err(RouteConflict), Err(RouteConflict)),
        ("src_ip_unknown", "192.168.129.99", "192.168.129.10", Err(NoReturnRoute), Err(NoReturnRoute)),
        // Not recorded.
        ("our own source", "192.168.129.10", "192.168.129.10", Err(RouteConflict), Err(RouteConflict)),
        ("a broadcast source", "192.168.129.255", "192.168.129.10", Err(NoReturnRoute), Err(NoReturnRoute)),
        ("a foreign broadcast", "192.168.129.99", "255.255.255.255", Err(NoReturnRoute), Err(NoReturnRoute)),
    ];
    for (case, source, destination, off, on) in cases {
        for (enabled, expected) in [(false, off), (true, on)] {
            let packet = ipv4(source, destination);
            let outcome = table(enabled).inbound_v0(&id("near"), ETHERTYPE_IPV4, &packet).map(|_| ());
            assert_eq!(outcome, *expected, "{case}, broadcasts {enabled}");
        }
    }
}

#[test]
fn other_families_and_broken_packets_are_told_apart() {
    let table = table(false);
    let packet = ipv4("192.168.129.40", "192.168.129.10");
    let mut ipv6 = vec![0x60, 0, 0, 0, 0, 0, 59, 64];
    ipv6.extend([0; 32]);
    let inbound = |ethertype, packet: &[u8]| table.inbound_v0(&id("near"), ethertype, packet).map(|_| ());

    assert_eq!(inbound(ETHERTYPE_IPV6, &ipv6), Err(DropReason::Unsupported), "packet/ipv6");
    assert_eq!(inbound(0x0806, &packet), Err(DropReason::Unsupported), "packet/ethertype_arp");
    assert_eq!(inbound(ETHERTYPE_IPV4, &ipv6), Err(DropReason::Malformed), "packet/ethertype_lies");
    assert_eq!(inbound(ETHERTYPE_IPV4, &packet[..12]), Err(DropReason::Malformed), "packet/truncated_ip");
    assert_eq!(inbound(ETHERTYPE_IPV4, &[]), Err(DropReason::Malformed), "packet/empty_data");
    assert_eq!(table.outbound(&tunmesh_packet::parse(&ipv6).unwrap()), Err(DropReason::Unsupported));
}

#[test]
fn a_sender_without_a_route_can_send_nothing() {
    let packet = ipv4("203.0.113.9", "192.168.129.10");
    for sender in ["outside", "nobody"] {
        let outcome = table(true).inbound_v0(&id(sender), ETHERTYPE_IPV4, &packet).map(|_| ());
        assert_eq!(outcome, Err(DropReason::NoReturnRoute), "{sender}");
    }
    let stolen = ipv4("192.168.129.40", "192.168.129.10");
    let outcome = table(true).inbound_v0(&id("nobody"), ETHERTYPE_IPV4, &stolen).map(|_| ());
    assert_eq!(outcome, Err(DropReason::RouteConflict));
}

#[test]
fn members_with_an_address_that_is_none_have_no_route() {
    let table = table(true);
    for (name, routed) in [
        ("near", true),
        ("far", true),
        ("outside", false),
        ("broadcasting", false),
        ("subnet", false),
        ("ours", false),
        ("nobody", false),
    ] {
        assert_eq!(table.iter().any(|(_, owner)| *owner == id(name)), routed, "{name}");
    }
    assert_eq!(table.iter().count(), 3);
}

#[test]
fn packets_pass_through_us_between_our_devices_and_anybody_else_and_not_between_members() {
    use DropReason::*;
    let device = |name, addresses: &[&str]| Device {
        id: id(name),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    let settings = Settings {
        ipv6: Some(Ipv6Settings { address: "fd00::10".parse().unwrap(), prefix_len: 64 }),
        devices: vec![device("phone", &["192.168.129.70", "fd00::70"]), device("tablet", &["192.168.129.71"])],
        ..settings(false)
    };
    let (near, far) = (member("near", "192.168.129.40/26"), member("far", "192.168.129.100/26"));
    let vouched = Vouched { addresses: vec!["fd00::40".parse().unwrap()], ..Vouched::default() };
    let silent = Vouched::default();
    let members = [(&near, &vouched), (&far, &silent)];
    let table = RouteTable::new(&settings, BTreeSet::new(), members.into_iter());
    type Judged = Result<Option<&'static str>, DropReason>;
    let cases: &[(&str, &str, &str, Judged)] = &[
        // from, source, destination; to whom it is passed on, nobody if it is for us
        ("phone", "192.168.129.70", "192.168.129.10", Ok(None)),
        ("phone", "192.168.129.70", "192.168.129.40", Ok(Some("near"))),
        ("phone", "192.168.129.70", "192.168.129.71", Ok(Some("tablet"))),
        ("phone", "fd00::70", "fd00::40", Ok(Some("near"))),
        ("near", "192.168.129.40", "192.168.129.70", Ok(Some("phone"))),
        ("near", "fd00::40", "fd00::70", Ok(Some("phone"))),
        ("near", "192.168.129.40", "192.168.129.100", Err(Misrouted)),
        ("phone", "192.168.129.70", "192.168.129.70", Err(Misrouted)),
        ("phone", "192.168.129.70", "192.168.129.99", Err(Misrouted)),
        ("phone", "192.168.129.70", "8.8.8.8", Err(Misrouted)),
        ("phone", "192.168.129.71", "192.168.129.40", Err(RouteConflict)),
        ("phone", "192.168.129.40", "192.168.129.10", Err(RouteConflict)),
        ("phone", "192.168.129.10", "192.168.129.40", Err(RouteConflict)),
        ("phone", "fd00::40", "fd00::10", Err(RouteConflict)),
        ("phone", "192.168.129.99", "192.168.129.40", Err(NoReturnRoute)),
        ("near", "192.168.129.70", "192.168.129.71", Err(RouteConflict)),
    ];
    for (from, source, destination, expected) in cases {
        let judged = table.inbound(&id(from), source.parse().unwrap(), destination.parse().unwrap());
        let judged = judged.map(|verdict| match verdict {
            Inbound::Deliver => None,
            Inbound::Forward(to) => Some(to.as_str()),
        });
        assert_eq!(judged, *expected, "{from}: {source} to {destination}");
    }

    let packet = ipv4("192.168.129.40", "192.168.129.70");
    let judged = table.inbound_v0(&id("near"), ETHERTYPE_IPV4, &packet).map(|(_, verdict)| verdict);
    assert_eq!(judged, Ok(Inbound::Forward(&id("phone"))), "by v0");
}

#[test]
fn a_further_address_of_several_leads_to_our_own_device_or_to_who_started_first_and_then_to_who_only_says_so() {
    let settings = Settings {
        ipv6: Some(Ipv6Settings { address: "fd00::10".parse().unwrap(), prefix_len: 64 }),
        devices: vec![Device { id: id("phone"), addresses: vec!["fd00::70".parse().unwrap()] }],
        ..settings(false)
    };
    let members =
        [member("a", "192.168.129.40/26"), member("b", "192.168.129.41/26"), member("c", "192.168.129.42/26")];
    let says = |addresses: &[&str], started_at| Vouched {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        started_at,
        ..Vouched::default()
    };
    let said = [says(&["fd00::1", "fd00::2", "fd00::70"], 0), says(&["fd00::1", "fd00::2"], 2), says(&["fd00::1"], 1)];

    let table = RouteTable::new(&settings, BTreeSet::new(), members.iter().zip(&said));

    let owners = ["fd00::1", "fd00::2", "fd00::70"].map(|address| table.owner(address.parse().unwrap()));
    assert_eq!(owners, [Some(&id("c")), Some(&id("b")), Some(&id("phone"))]);
}

#[test]
fn packets_to_near_members_expire_by_the_near_timer() {
    let table = table(false);
    assert_eq!(table.packet_expiration(&id("near")), Duration::from_millis(100));
    assert_eq!(table.packet_expiration(&id("far")), Duration::from_millis(700));
    assert_eq!(table.packet_expiration(&id("nobody")), Duration::from_millis(700));
}

#[test]
fn a_subnet_of_two_addresses_has_no_broadcast() {
    let mut settings = settings(true);
    settings.local.address = "192.168.129.10/31".parse().unwrap();
    settings.local.network = "192.168.129.10/31".parse().unwrap();
    let neighbour = member("neighbour", "192.168.129.11/31");
    let table = RouteTable::new(&settings, BTreeSet::new(), [(&neighbour, &Vouched::default())].into_iter());
    let packet = ipv4("192.168.129.10", "192.168.129.11");
    let outcome = table.outbound(&tunmesh_packet::parse(&packet).unwrap());
    assert_eq!(outcome, Ok(Outbound::Unicast(&id("neighbour"))));
}

type Reached = Result<&'static [&'static str], DropReason>;
type Taken = Result<(), DropReason>;

#[test]
fn members_of_a_further_network_are_reached_like_others() {
    let settings = Settings { further_networks: vec!["203.0.113.0/24".parse().unwrap()], ..settings(false) };
    let member = member("outgrown", "203.0.113.9/24");
    let told = Vouched::default();
    let table = RouteTable::new(&settings, BTreeSet::new(), std::iter::once((&member, &told)));
    let out = |destination| {
        let packet = ipv4("192.168.129.10", destination);
        table.outbound(&tunmesh_packet::parse(&packet).unwrap()).map(|_| ())
    };

    assert_eq!(out("203.0.113.9"), Ok(()));
    assert_eq!(out("203.0.113.8"), Err(DropReason::NoRoute));
    assert_eq!(out("198.51.100.1"), Err(DropReason::OutsideConfiguredNetwork));
    let inbound = table.inbound(&member.id, "203.0.113.9".parse().unwrap(), "192.168.129.10".parse().unwrap());
    assert!(matches!(inbound, Ok(Inbound::Deliver)), "{inbound:?}");
}

fn table(enable_broadcast: bool) -> RouteTable {
    let members = [
        member("near", "192.168.129.40/26"),
        member("near-41", "192.168.129.41/26"),
        member("far", "192.168.129.100/26"),
        member("outside", "203.0.113.9/24"),
        member("broadcasting", "192.168.129.255/24"),
        member("subnet", "192.168.129.63/24"),
        member("ours", "192.168.129.10/26"),
    ];
    let told = Vouched::default();
    RouteTable::new(&settings(enable_broadcast), BTreeSet::new(), members.iter().map(|member| (member, &told)))
}

fn settings(enable_broadcast: bool) -> Settings {
    let timers = |packet_expiration| Timers {
        reregistration_interval: Duration::from_secs(5),
        stale_threshold: Duration::from_secs(30),
        packet_expiration,
    };
    Settings {
        local: member("local", "192.168.129.10/26"),
        enable_broadcast,
        groom_interval: Duration::from_secs(5),
        bootstrap_retry_interval: Duration::from_secs(15),
        startup_grace: Duration::ZERO,
        near: timers(Duration::from_millis(100)),
        far: timers(Duration::from_millis(700)),
        further_networks: Vec::new(),
        hearsay_delay: Duration::ZERO,
        ipv6: None,
        devices: Vec::new(),
        request_timeout: Duration::from_secs(1),
        session_max_age: Duration::from_secs(3600),
        session_validity: Duration::from_secs(30),
        bootstrap_groups: BTreeMap::new(),
    }
}

fn member(name: &str, address: &str) -> Member {
    Member {
        id: id(name),
        listen_url: format!("https://{name}:4567").parse().unwrap(),
        network: "192.168.129.0/24".parse().unwrap(),
        address: address.parse().unwrap(),
    }
}

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

/// A header without payload.
fn ipv4(source: &str, destination: &str) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0];
    for address in [source, destination] {
        packet.extend(address.parse::<Ipv4Addr>().unwrap().octets());
    }
    packet
}
