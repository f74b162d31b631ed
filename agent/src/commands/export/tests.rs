use super::*;

/// A file with one device that has its keys from us and one that has its own; `networking` is added to that group.
fn config(networking: &str) -> Config {
    let text = format!(
        "tun_mesh:
  config_version: 1.1
  clustering:
    bootstrap_groups: {{default: {{bootstrap_node_urls: []}}}}
    control_api_advertise_url: https://mesh.example.org:4567
    auth: {{secret: bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha}}
  control_api:
    ssl: {{cert_file_path: cert.pem, key_file_path: key.pem}}
  monitoring: {{method: prometheus}}
  networking:
    ipv4: {{network_cidr: 192.168.129.0/24, node_address_cidr: 192.168.129.10/26}}
    wireguard_peers:
      laptop: {{address: 192.168.129.71, public_key: hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=}}
      phone: {{address: 192.168.129.70}}
{networking}  process: {{uid: 65532}}
"
    );
    let tls = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol/tests/vectors/tunmesh-v0/tls/config.yaml");
    settings::parse(Path::new(tls), &text).unwrap().config
}

fn exported(config: &Config, name: &str) -> anyhow::Result<String> {
    client_file(config, &Keys::of(config)?, name)
}

#[test]
fn the_file_is_complete_for_a_device_whose_keys_follow_from_ours() {
    assert_eq!(exported(&config(""), "phone").unwrap(), include_str!("phone.conf"));
}

#[test]
fn the_private_key_of_a_device_that_has_its_own_is_left_to_it() {
    let text = exported(&config("    ipv6: {enabled: false}\n    mtu: 1300\n"), "laptop").unwrap();

    assert_eq!(text, include_str!("laptop.conf"));
}

#[test]
fn the_endpoint_is_what_the_file_advertises() {
    for (keys, expected) in [
        ("{advertise_endpoints: [\"203.0.113.7:4000\", \"[2001:db8::7]:4000\"]}", "203.0.113.7:4000"),
        ("{advertise_endpoints: [\"[2001:db8::7]:4000\"]}", "[2001:db8::7]:4000"),
        ("{listen_port: 51820}", "mesh.example.org:51820"),
        ("{}", "mesh.example.org:4567"),
    ] {
        let text = exported(&config(&format!("    data_plane: {keys}\n")), "phone").unwrap();

        assert!(text.contains(&format!("Endpoint = {expected}\n")), "{keys}: {text}");
    }
}

#[test]
fn refusals_name_the_key_and_the_fix() {
    let unknown = exported(&config(""), "fridge").unwrap_err().to_string();
    let no_udp = exported(&config("    data_plane: {paths: [v0]}\n"), "phone").unwrap_err().to_string();

    assert_eq!(
        unknown,
        "tun_mesh/networking/wireguard_peers names laptop, phone, not \"fridge\". \
         Fix: add `fridge: {address: …}`, or correct --name"
    );
    assert!(no_udp.starts_with("tun_mesh/networking/data_plane/paths is without udp"), "{no_udp}");
    assert!(no_udp.contains("Fix: "), "{no_udp}");
}
