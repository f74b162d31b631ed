use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::{ControlUrl, Window};

pub(super) const SECRET: &str = "bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha";

pub(super) fn read(text: &str) -> Result<Parsed, Problems> {
    parse(text, &mut ParseOptions { base_dir: Path::new(env!("CARGO_MANIFEST_DIR")), random: &mut || 0.5 })
}

/// A file that is valid, and valid for the original.
pub(super) fn valid() -> String {
    format!(
        "tun_mesh:
  config_version: 1.1
  clustering:
    bootstrap_groups:
      local:
        bootstrap_node_urls: [https://192.168.128.1:4568]
    control_api_advertise_url: https://192.168.128.1:4567
    auth:
      secret: {SECRET}
  control_api:
    ssl:
      cert_file_path: Cargo.toml
      key_file_path: Cargo.toml
  monitoring:
    prometheus:
      base_labels:
        env_name: local_test
  networking:
    ipv4:
      network_cidr: 192.168.129.0/24
      node_address_cidr: 192.168.129.10/26
  process:
    uid: 100010
"
    )
}

fn everything(outcome: Result<Parsed, Problems>) -> String {
    match outcome {
        Ok(Parsed { config, warnings }) => format!("{config:?}\n{}", Problems(warnings)),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn of_a_root_without_groups_nothing_else_is_said() {
    for text in ["- a\n", "text\n", "5\n", "[]\n", "tun_mesh: []\n", "tun_mesh: 5\n", "other: 5\n"] {
        let Err(problems) = read(text) else { panic!("{text:?} was taken") };
        assert_eq!(problems.0.len(), 1, "{text:?}: {problems}");
    }
}

#[test]
fn a_secret_that_lost_its_key_is_not_repeated() {
    let group = format!("auth:\n      secret: {SECRET}\n");
    for auth in [
        format!("auth: {{{SECRET}}}\n"),
        format!("auth: {{secret:{SECRET}}}\n"),
        format!("auth:\n      secret:{SECRET}\n"),
        format!("auth:\n      {SECRET}: x\n"),
        format!("auth:\n      {SECRET}: x\n      {SECRET}: y\n"),
        format!("auth:\n      secret: {{{SECRET}: x}}\n"),
        format!("auth:\n      secret: [{SECRET}]\n"),
        format!("auth:\n      secret: *{SECRET}\n"),
        format!("auth:\n      secret: !{SECRET} x\n"),
    ] {
        let text = valid().replace(&group, &auth);
        let problems = read(&text).err().unwrap_or_else(|| panic!("accepted: {auth}")).to_string();
        assert!(!problems.contains(SECRET), "{problems}");
    }
}

#[test]
fn no_more_previous_secrets_are_taken_than_others_can_be_told_of() {
    let secrets = |count: usize| {
        let list: Vec<_> = (0..count).map(|index| format!("{index}{SECRET}")).collect();
        valid().replace("auth:\n", &format!("auth:\n      previous_secrets: [{}]\n", list.join(", ")))
    };
    assert!(read(&secrets(7)).is_ok());

    let problems = read(&secrets(8)).err().unwrap();

    assert_eq!(problems.0[0].path, "tun_mesh/clustering/auth/previous_secrets");
    assert!(problems.0[0].reason.contains("at most 7"), "{problems}");
}

#[test]
fn a_misspelt_key_of_the_auth_group_is_named() {
    let problems = read(&valid().replace("secret:", "secert:")).err().unwrap();
    assert_eq!(problems.0[0].path, "tun_mesh/clustering/auth/secert");
}

#[test]
fn placeholders_of_the_original_are_called_that() {
    let text = valid()
        .replace("[https://192.168.128.1:4568]", "[[Deployment Unique Value 1]]")
        .replace("100010", "[Deployment Unique Value]")
        .replace(SECRET, "[Deployment Unique Value]");

    let problems = read(&text).err().unwrap();

    assert_eq!(problems.0.len(), 3, "{problems}");
    assert!(problems.0.iter().all(|finding| finding.reason.contains("placeholder")), "{problems}");
}

#[test]
fn of_two_of_one_name_the_last_counts_and_a_warning_says_so() {
    for (before, twice, path) in [
        ("      local:\n", "      local: 7\n      local:\n", "tun_mesh/clustering/bootstrap_groups/local"),
        (
            "        env_name",
            "        env_name: x\n        env_name",
            "tun_mesh/monitoring/prometheus/base_labels/env_name",
        ),
        ("    uid", "    uid: 7\n    uid", "tun_mesh/process/uid"),
        ("tun_mesh:\n", "tun_mesh: 7\ntun_mesh:\n", "tun_mesh"),
    ] {
        let parsed = read(&valid().replacen(before, twice, 1)).unwrap_or_else(|problems| panic!("{path}: {problems}"));
        let paths: Vec<_> = parsed.warnings.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, [path]);
        assert_eq!(parsed.config.process.uid, 100_010);
        assert_eq!(parsed.config.monitoring.prometheus.base_labels["env_name"], "local_test");
    }
}

#[test]
fn a_base_label_that_a_metric_has_already_is_refused() {
    for taken in METRIC_LABELS {
        let Err(problems) = read(&valid().replace("env_name:", &format!("{taken}:"))) else {
            panic!("{taken} was taken")
        };
        assert_eq!(problems.0.len(), 1, "{problems}");
        assert_eq!(problems.0[0].path, format!("tun_mesh/monitoring/prometheus/base_labels/{taken}"));
        assert!(problems.0[0].reason.contains("has a label of that name"), "{problems}");
    }
}

#[test]
fn a_handover_of_nothing_or_with_a_token_for_nobody_is_refused_once() {
    for (handover, path) in [
        ("{}", "tun_mesh/networking/tun_handover"),
        ("{fd: x}", "tun_mesh/networking/tun_handover/fd"),
        ("{fd: 3, token_file: /run/token}", "tun_mesh/networking/tun_handover/token_file"),
        ("{socket: \"@helper\", token_file: token}", "tun_mesh/networking/tun_handover/token_file"),
    ] {
        let text = valid().replace("  networking:\n", &format!("  networking:\n    tun_handover: {handover}\n"));
        let problems = read(&text).err().unwrap();
        let paths: Vec<_> = problems.0.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, [path]);
    }
}

#[test]
fn a_number_with_a_leading_zero_is_octal_as_in_the_original() {
    let text = valid().replace("uid: 100010", "uid: 0100010\n    timing: {request_timeout: 010}");
    let process = read(&text).unwrap_or_else(|problems| panic!("{problems}")).config.process;
    assert_eq!((process.uid, process.timing.request_timeout.as_secs()), (0o100_010, 8));
}

/// Text in double quotes: JSON's are YAML's.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}

proptest! {
    #[test]
    fn values_written_to_a_file_are_read_back(
        (port, batch, uid, mtu) in (0u16.., 1usize..=1024, 1u32..u32::MAX, 576u16..=9000),
        (host, prefix_len, retries) in (1u32..0x00ff_ffff, 8u8..=32, -1i32..),
        (tenths, seconds, minutes) in (5u32..=36_000, 1u32..=3600, 1u32..=60),
        secret in "\\PC{32,64}",
        labels in proptest::collection::btree_map("[a-z][a-z_0-9]{0,8}".prop_filter("taken", |name| !METRIC_LABELS.contains(&name.as_str())), "\\PC{0,16}", 0..4),
        groups in proptest::collection::btree_map("[\\PC&&[^/]]{0,12}", proptest::collection::vec(1u16.., 0..3), 0..4),
        flags in any::<[bool; 4]>(),
    ) {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 | host);
        let mut text = format!(
            "tun_mesh:\n  config_version: '1.1'\n  clustering:\n    control_api_advertise_url: https://[fd77::1]:{port}1\n    reload_config_on_bootstrap: {}\n    auth: {{secret: {}}}\n    bootstrap_groups:",
            flags[0], quoted(&secret)
        ).replace(&format!(":{port}1\n"), ":4567\n");
        text += if groups.is_empty() { " {}\n" } else { "\n" };
        for (name, ports) in &groups {
            let urls: Vec<_> = ports.iter().map(|port| format!("https://a:{port}")).collect();
            text += &format!("      {}:\n        bootstrap_node_urls: {urls:?}\n        bootstrap_retries: {retries}\n", quoted(name));
        }
        text += &format!("  control_api:\n    listen_port: {port}\n    max_batch_size: {batch}\n    ssl: {{cert_file_path: Cargo.toml, key_file_path: src/lib.rs, ca_file_path: Cargo.toml, verify_hostname: {}}}\n", flags[1]);
        text += "  monitoring:\n    method: prometheus\n    prometheus:\n      base_labels:";
        text += if labels.is_empty() { " {}\n" } else { "\n" };
        for (name, value) in &labels {
            text += &format!("        {}: {}\n", quoted(name), quoted(value));
        }
        text += &format!("  networking:\n    mtu: {mtu}\n    clamp_mss: {}\n    ipv4:\n      network_cidr: 10.0.0.0/8\n      node_address_cidr: {address}/{prefix_len}\n      enable_broadcast: {}\n", flags[2], flags[3]);
        text += &format!("  process:\n    uid: {uid}\n    timing:\n      request_timeout: {}.{}\n      auth:\n        session_max_age: {seconds}s\n        validity_window: {seconds}\n        early_validity_window: {minutes}m\n", tenths / 10, tenths % 10);

        let config = read(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}")).config;

        let Config { clustering, control_api, monitoring, networking, process, .. } = config;
        prop_assert_eq!(clustering.auth.secret.as_bytes(), secret.as_bytes());
        prop_assert_eq!(clustering.control_api_advertise_url.as_str(), "https://[fd77::1]:4567");
        prop_assert_eq!(
            clustering.bootstrap_groups.iter().map(|(name, group)| (name.clone(), group.bootstrap_node_urls.iter().map(ControlUrl::port).collect())).collect::<BTreeMap<String, Vec<u16>>>(),
            groups.clone()
        );
        let expected = u32::try_from(retries).map_or(Retries::Forever, Retries::Times);
        prop_assert!(clustering.bootstrap_groups.values().all(|group| group.bootstrap_retries == expected));
        prop_assert_eq!((control_api.listen_port, control_api.max_batch_size), (port, batch));
        prop_assert_eq!(control_api.ssl.key_file_path, PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")));
        prop_assert_eq!(monitoring.prometheus.base_labels, labels);
        prop_assert_eq!((networking.mtu, process.uid), (mtu, uid));
        let node = networking.ipv4.node_address_cidr;
        prop_assert_eq!((node.address(), node.prefix_len()), (address, prefix_len));
        let read_flags = [clustering.reload_config_on_bootstrap, control_api.ssl.verify_hostname, networking.clamp_mss, networking.ipv4.enable_broadcast];
        prop_assert_eq!(read_flags, flags);
        let timing = process.timing;
        prop_assert!((timing.request_timeout.as_secs_f64() - f64::from(tenths) / 10.0).abs() < 1e-6);
        prop_assert_eq!(timing.auth.session_max_age.as_secs(), u64::from(seconds));
        prop_assert_eq!(timing.auth.validity_window, Window::integer(seconds));
        prop_assert_eq!(timing.auth.early_validity_window, Window::float(f64::from(minutes) * 60.0));
    }

    #[test]
    fn no_damage_to_a_file_makes_it_repeat_the_secret(cut in 0usize..1000, put in "[\\[\\]{}:,#&*!|>'\"%@`a-z0-9 \n-]{0,8}") {
        let mut text = valid();
        // Within the secret it would be another one.
        let secret = text.find(SECRET).expect("it is there");
        let at = cut.min(text.len());
        prop_assume!(at <= secret || at >= secret + SECRET.len());
        text.insert_str(at, &put);
        let told = everything(read(&text));
        prop_assert!(!told.contains(SECRET), "{}", told);
    }
}
