//! The recorded configurations of the original: accepted where it accepts, refused where it refuses, each refusal naming
//! the key at fault; the example and the reference page.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use tunmesh_protocol::config::{self, ParseOptions, Parsed, Problems, Retries, TunSource};

/// Cases this implementation decides otherwise, and why. docs/compatibility.md has the same list.
const DIFFERENCES: &[(&str, &str)] = &[
    ("cidr_outside", "an address outside network_cidr could never be reached"),
    ("startup_grace_0", "0 is the default and means what it says"),
    ("tun_name", "the kernel takes at most 15 characters"),
    ("url_http", "the control API is HTTPS"),
    ("url_relative", "other nodes cannot call a URL without a host"),
];

/// The key each refused case is about.
const FAULTS: &[(&str, &str)] = &[
    ("base_labels_list", "monitoring/prometheus/base_labels"),
    ("base_labels_null", "monitoring/prometheus/base_labels"),
    ("batch_0", "control_api/max_batch_size"),
    ("batch_1025", "control_api/max_batch_size"),
    ("bootstrap_group_unknown_key", "clustering/bootstrap_groups/local/x"),
    ("bootstrap_groups_list", "clustering/bootstrap_groups"),
    ("bootstrap_groups_missing", "clustering/bootstrap_groups"),
    ("bootstrap_groups_null", "clustering/bootstrap_groups"),
    ("bootstrap_retries_minus2", "clustering/bootstrap_groups/local/bootstrap_retries"),
    ("bootstrap_url_bad", "clustering/bootstrap_groups/local/bootstrap_node_urls/0"),
    ("bootstrap_urls_missing", "clustering/bootstrap_groups/local/bootstrap_node_urls"),
    ("bootstrap_urls_string", "clustering/bootstrap_groups/local/bootstrap_node_urls"),
    ("ca_missing_file", "control_api/ssl/ca_file_path"),
    ("cert_is_dir", "control_api/ssl/cert_file_path"),
    ("cert_missing_file", "control_api/ssl/cert_file_path"),
    ("cidr_300", "networking/ipv4/node_address_cidr"),
    ("cidr_bad", "networking/ipv4/node_address_cidr"),
    ("cidr_outside", "networking/ipv4/node_address_cidr"),
    ("cidr_prefix_33", "networking/ipv4/node_address_cidr"),
    ("cidr_v6", "networking/ipv4/node_address_cidr"),
    ("groom_zero", "process/timing/registrations/groom_interval"),
    ("group_missing", "networking"),
    ("group_null", "logging"),
    ("group_scalar", "logging"),
    ("ipv6_group", "networking/ipv6/node_address_cidr"),
    ("log_level_bad", "logging/level"),
    ("log_level_null", "logging/level"),
    ("log_level_upper", "logging/level"),
    ("metric_ttl_1d", "monitoring/metric_ttl"),
    ("monitoring_bad", "monitoring/method"),
    ("packet_expiration_0", "process/timing/network/local/packet_expiration"),
    ("port_70000", "control_api/listen_port"),
    ("port_neg", "control_api/listen_port"),
    ("port_word", "control_api/listen_port"),
    ("pub_key_1024", "clustering/auth/pub_key_size"),
    ("secret_missing", "clustering/auth/secret"),
    ("secret_short", "clustering/auth/secret"),
    ("tun_name", "networking/tun_device_id"),
    ("uid_0", "process/uid"),
    ("uid_missing", "process/uid"),
    ("uid_name", "process/uid"),
    ("unknown_key_deep", "process/timing/auth/x"),
    ("unknown_key_top", "colour"),
    ("url_garbage", "clustering/control_api_advertise_url"),
    ("url_http", "clustering/control_api_advertise_url"),
    ("url_number", "clustering/control_api_advertise_url"),
    ("url_relative", "clustering/control_api_advertise_url"),
    ("verify_hostname_1", "control_api/ssl/verify_hostname"),
    ("verify_hostname_yes", "control_api/ssl/verify_hostname"),
    ("version_1_0", "config_version"),
    ("version_int", "config_version"),
    ("version_missing", "config_version"),
    ("yaml_symbol", "logging/level"),
];

/// Cases about the file as a whole.
const WHOLE_FILE: &[&str] = &[
    "empty_file",
    "example_as_config",
    "no_top_key",
    "not_yaml",
    "scalar_file",
    "tun_mesh_list",
    "tun_mesh_null",
    "yaml_alias",
];

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tunmesh-v0")
}

/// A folder with the files the recorded configurations name.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tunmesh-config-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.join("test_ssl")).unwrap();
        for file in ["cert.pem", "key.pem"] {
            fs::copy(vectors().join("tls").join(file), folder.join("test_ssl").join(file)).unwrap();
        }
        fs::write(folder.join("test_ssl/ca.pem"), "").unwrap();
        for file in ["case.yaml", "config.2.yaml"] {
            fs::write(folder.join(file), "").unwrap();
        }
        Self(folder)
    }

    fn parse(&self, text: &str) -> Result<Parsed, Problems> {
        let folder = self.0.to_str().unwrap();
        // The recorded absolute path existed where it was recorded.
        let text = text.replace("CONFIG_DIR", folder).replace("/etc/tunmesh/test_ssl", &format!("{folder}/test_ssl"));
        config::parse(&text, &mut ParseOptions { base_dir: &self.0, random: &mut || 0.25 })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn cases() -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(vectors().join("config/config_cases.json")).unwrap()).unwrap()
}

fn valid() -> String {
    cases()[0]["config"].as_str().unwrap().to_owned()
}

#[test]
fn every_recorded_case_is_decided_as_by_the_original_or_listed() {
    let folder = Folder::new("cases");
    let mut listed: BTreeSet<_> = DIFFERENCES.iter().map(|(name, _)| *name).collect();
    let mut decided = 0;
    for case in cases() {
        let (name, accepted) = (case["name"].as_str().unwrap(), case["accepted"].as_bool().unwrap());
        let Some(text) = case["config"].as_str() else {
            assert_eq!(name, "missing_file", "only that case has no text");
            continue;
        };
        let outcome = folder.parse(text);
        let differs = outcome.is_ok() != accepted;
        let problems = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert_eq!(differs, listed.remove(name), "{name}: accepted by the original: {accepted}\n{problems}\n{text}");
        decided += 1;
    }
    assert_eq!(decided, 129);
    assert!(listed.is_empty(), "not differences: {listed:?}");
}

#[test]
fn every_refusal_names_the_key_at_fault_the_reason_and_the_fix() {
    let folder = Folder::new("refusals");
    for case in cases() {
        let name = case["name"].as_str().unwrap();
        let Some(Err(problems)) = case["config"].as_str().map(|text| folder.parse(text)) else {
            continue;
        };
        let expected = if WHOLE_FILE.contains(&name) {
            None
        } else if name.starts_with("timing_") {
            Some("process/timing/auth/session_max_age")
        } else {
            let (_, fault) =
                FAULTS.iter().find(|(case, _)| *case == name).unwrap_or_else(|| panic!("{name} is in no table"));
            Some(*fault)
        };
        let first = &problems.0[0];
        if let Some(expected) = expected {
            assert_eq!(first.path, format!("tun_mesh/{expected}"), "{name}: {problems}");
            assert!(name.contains("missing") || first.line.is_some(), "{name} has a line");
        }
        assert!(!first.reason.is_empty() && !first.fix.is_empty(), "{name}");
    }
}

#[test]
fn five_mistakes_are_five_findings() {
    let folder = Folder::new("five");
    let text = valid()
        .replace("config_version: 1.1", "config_version: 7")
        .replace("level: debug", "level: loud")
        .replace("uid: 100010", "uid: 0")
        .replace("bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha", "short")
        .replace("192.168.129.10/26", "192.168.129.10/99");

    let problems = folder.parse(&text).err().unwrap();

    let paths: BTreeSet<_> = problems.0.iter().map(|finding| finding.path.as_str()).collect();
    assert_eq!(problems.0.len(), 5, "{problems}");
    assert_eq!(paths.len(), 5);
    assert!(!problems.to_string().contains("short\""), "a secret is repeated: {problems}");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let folder = Folder::new("leak");
    let secret = "bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha";
    for auth in
        [format!("auth: {secret}\n"), format!("auth: {{previous_secrets: {secret}}}\n"), format!("auth: [{secret}]\n")]
    {
        let text = valid().replace(&format!("auth:\n      secret: {secret}\n"), &auth);
        let problems = folder.parse(&text).err().unwrap();
        assert!(!problems.to_string().contains(secret), "{problems}");
    }
}

#[test]
fn values_are_read_as_by_the_original() {
    let folder = Folder::new("values");
    let config = folder.parse(&valid()).unwrap().config;
    assert_eq!(config.process.timing.auth.session_max_age.as_secs(), 3600);
    assert_eq!(config.networking.ipv4.node_address_cidr.to_string(), "192.168.129.10/26");
    assert_eq!(config.monitoring.prometheus.base_labels["env_name"], "local_test");
    assert_eq!(config.clustering.bootstrap_groups["local"].bootstrap_retries, Retries::Forever);
    assert_eq!(config.networking.tun_source, TunSource::Create);
    assert!(!config.process.timing.auth.validity_window.integer);
    for case in cases() {
        let Some(Ok(parsed)) = case["config"].as_str().map(|text| folder.parse(text)) else {
            continue;
        };
        let Some(read) =
            case["loaded_value_lines"]["session_max_age"].as_str().and_then(|text| text.parse::<f64>().ok())
        else {
            continue;
        };
        if !case["description"].as_str().unwrap().contains("..") {
            assert_eq!(parsed.config.process.timing.auth.session_max_age.as_secs_f64(), read, "{}", case["name"]);
        }
    }
}

#[test]
fn a_weak_secret_is_used_with_a_warning() {
    let folder = Folder::new("weak");
    let text = valid().replace("bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");

    let warnings = folder.parse(&text).unwrap().warnings;

    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].path.ends_with("auth/secret") && warnings[0].fix.contains("openssl rand"));
}

#[test]
fn our_additions_are_read() {
    let folder = Folder::new("ours");
    let text = valid().replace(
        "  networking:\n",
        "  networking:\n    mtu: 1400\n    clamp_mss: true\n    routes: [10.1.0.0/16]\n    tun_handover: {socket: \"@helper\", token_file: /run/token}\n",
    );

    let config = folder.parse(&text).unwrap_or_else(|problems| panic!("{problems}")).config;

    assert_eq!((config.networking.mtu, config.networking.clamp_mss), (1400, true));
    assert_eq!(config.networking.routes[0].to_string(), "10.1.0.0/16");
    let helper = TunSource::Helper { socket: "@helper".into(), token_file: Some("/run/token".into()) };
    assert_eq!(config.networking.tun_source, helper);
}

#[test]
fn the_example_is_yaml_and_lacks_only_what_must_be_filled_in() {
    let folder = Folder::new("example");
    let problems = folder.parse(&config::example()).err().unwrap();

    let paths: BTreeSet<_> = problems.0.iter().map(|finding| finding.path.trim_start_matches("tun_mesh/")).collect();

    let required = [
        "clustering/auth/secret",
        "clustering/bootstrap_groups/default/bootstrap_node_urls/0",
        "clustering/control_api_advertise_url",
        "control_api/ssl/cert_file_path",
        "control_api/ssl/key_file_path",
        "networking/ipv4/network_cidr",
        "networking/ipv4/node_address_cidr",
        "process/uid",
    ];
    assert_eq!(paths, BTreeSet::from(required), "{problems}");
}

#[test]
fn the_example_with_every_default_written_out_is_the_same_configuration() {
    let folder = Folder::new("defaults");
    let example = config::example();
    let uncommented: Vec<_> = example
        .lines()
        .filter(|line| !line.contains("<") || !line.trim_start().starts_with('#'))
        .map(|line| {
            let trimmed = line.trim_start();
            let is_key = trimmed.strip_prefix("# ").is_some_and(|rest| {
                rest.split(':').next().is_some_and(|key| {
                    !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                })
            });
            if is_key { line.replacen("# ", "", 1) } else { line.to_owned() }
        })
        .collect();
    let text = uncommented
        .join("\n")
        .replace("<text of 32 or more characters>", "bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha")
        .replace("- <https://host:port>", "- https://a:1")
        .replace("<https URL>", "https://b:2")
        .replacen("<path of a file>", "test_ssl/cert.pem", 1)
        .replacen("<path of a file>", "test_ssl/key.pem", 1)
        .replacen("<IPv4 address/prefix>", "10.0.0.0/8", 1)
        .replacen("<IPv4 address/prefix>", "10.0.0.1/8", 1)
        .replace("uid: <integer from 1 to 4294967294>", "uid: 5")
        .replace("    tun_handover:\n", "")
        .replace("    wireguard_peers:\n      default:\n", "");

    let parsed = folder.parse(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));

    assert_eq!(parsed.config.control_api.max_batch_size, 64);
    assert_eq!(parsed.config.process.timing.registrations.mesh.stale_threshold.as_secs(), 120);
    let without = folder.parse(&valid()).unwrap().config.networking;
    assert_eq!(parsed.config.networking.data_plane, without.data_plane);
    assert_eq!(parsed.config.networking.mtu, without.mtu);
}

#[test]
fn the_reference_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, config::reference()).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == config::reference(),
        "docs/configuration.md is old: run `make docs`"
    );
}

#[test]
fn the_list_of_keys_that_the_original_refuses_is_complete() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md")).unwrap();
    let reference = config::reference();
    let (mut section, mut ours) = ("", Vec::new());
    for line in reference.lines() {
        if let Some(path) = line.strip_prefix("## ") {
            section = path;
        }
        if line.contains("**Not in the original.**") {
            ours.push(
                format!("{section}/{}", line.split('`').nth(1).unwrap()).replace("tun_mesh/", "").replace('/', "."),
            );
        }
    }
    assert!(ours.len() > 10, "{ours:?}");
    for key in &ours {
        // The keys of a group that is listed go without saying.
        let groups = key.match_indices('.').map(|(end, _)| &key[..end]).chain([key.as_str()]);
        assert!(groups.into_iter().any(|path| page.contains(&format!("`{path}`"))), "{key} is not listed");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let folder = Path::new("/nonexistent");
        let _outcome = config::parse(&text, &mut ParseOptions { base_dir: folder, random: &mut || 0.5 });
    }

    #[test]
    fn mutilated_files_never_panic(cut in 0usize..1000, put in "[\\[\\]{}:,#&*!|>'\"%@`a-z0-9 \n-]{0,8}") {
        let mut text = valid();
        let at = cut.min(text.len());
        if text.is_char_boundary(at) {
            text.insert_str(at, &put);
        }
        let _outcome = config::parse(&text, &mut ParseOptions { base_dir: Path::new("/nonexistent"), random: &mut || 0.5 });
    }
}
