//! The keys of `networking`, as the kernel has them.

use serde_json::Value;

use crate::support::{Lab, SLOW, wait_for};

#[test]
fn name_mtu_addresses_and_routes_are_what_the_file_says() {
    let lab = Lab::new(1);
    let file = lab.config(1, "");
    let keys = "networking:\n    tun_device_id: mesh7\n    mtu: 1234\n    routes: [10.200.0.0/16, 10.201.2.0/24]\n";
    lab.edit(&file, "networking:\n", keys);
    lab.edit(&file, "ipv4: {", "ipv4: {extra_addresses: [192.168.129.11/32, 172.31.7.1/24], ");

    let _agent = lab.start_from(1, &file);
    let status = || lab.run(1, env!("CARGO_BIN_EXE_tunmesh"), &["status", "--json", "--device", "mesh7"]).status;
    wait_for("the node runs", SLOW, || status().success());

    let device = &json(&lab, &["-j", "addr", "show", "dev", "mesh7"])[0];
    assert_eq!(device["mtu"], 1234);
    let addresses = device["addr_info"].as_array().unwrap();
    let of = |key: &str| addresses.iter().map(|address| address[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("local"), ["192.168.129.10", "192.168.129.11", "172.31.7.1"]);
    assert_eq!(of("prefixlen"), [26, 32, 24]);
    assert_eq!(addresses[0]["broadcast"], "192.168.129.63");

    let routes = json(&lab, &["-4", "-j", "route", "show", "dev", "mesh7"]);
    let mut destinations: Vec<_> =
        routes.as_array().unwrap().iter().map(|route| route["dst"].as_str().unwrap()).collect();
    destinations.sort_unstable();
    let expected = ["10.200.0.0/16", "10.201.2.0/24", "172.31.7.0/24", "192.168.129.0/24", "192.168.129.0/26"];
    assert_eq!(destinations, expected);
    let source =
        |dst: &str| routes.as_array().unwrap().iter().find(|route| route["dst"] == dst).unwrap()["prefsrc"].clone();
    for destination in ["10.200.0.0/16", "192.168.129.0/24"] {
        assert_eq!(source(destination), "192.168.129.10");
    }
}

fn json(lab: &Lab, args: &[&str]) -> Value {
    let output = lab.run(1, "ip", args);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}
