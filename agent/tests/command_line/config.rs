//! `tunmesh config`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Lab;
use crate::{recorded, said, tunmesh, workspace};

#[test]
fn the_example_lacks_exactly_what_it_marks_as_required() {
    let folder = Folder::new("example");
    let (code, example, _) = said(&tunmesh(&["config", "example"]));
    assert_eq!(code, 0);

    let (code, _, stderr) = folder.check(&example);

    assert_eq!(code, 1);
    let named: BTreeSet<String> = stderr
        .lines()
        .filter_map(|line| line.trim().strip_prefix("tun_mesh/"))
        .map(|line| line.split(' ').next().unwrap().trim_end_matches([':', '/', '0']).to_owned())
        .collect();
    let required = placeholders(&example);
    assert!(required.len() >= 8, "{required:?}");
    assert_eq!(named, required);
}

#[test]
fn the_example_passes_once_it_is_filled_in() {
    let folder = Folder::new("filled");
    let (_, example, _) = said(&tunmesh(&["config", "example"]));
    let values = [
        ("- <https://host:port>", "- https://10.0.0.1:4567"),
        ("control_api_advertise_url: <https URL>", "control_api_advertise_url: https://10.0.0.2:4567"),
        ("secret: <text of 32 or more characters>", "secret: ooP3ohGh7ahngae8aed4oosh0aiV5ahJ"),
        ("cert_file_path: <path of a file>", "cert_file_path: test_ssl/cert.pem"),
        ("key_file_path: <path of a file>", "key_file_path: test_ssl/key.pem"),
        ("network_cidr: <IPv4 address/prefix>", "network_cidr: 192.168.129.0/24"),
        ("node_address_cidr: <IPv4 address/prefix>", "node_address_cidr: 192.168.129.20/24"),
        ("uid: <integer from 1 to 4294967294>", "uid: 65532"),
    ];

    let filled = values.into_iter().fold(example, |text, (placeholder, value)| {
        assert!(text.contains(placeholder), "{placeholder} is not in\n{text}");
        text.replacen(placeholder, value, 1)
    });

    folder.assert_passes(&filled);
}

#[test]
fn the_recorded_test_files_pass() {
    let folder = Folder::new("recorded");
    let files = [
        ("local", 4567, &[4568][..], "192.168.129.10/26"),
        ("default", 4568, &[4567], "192.168.129.20/26"),
        ("default", 4569, &[4567, 4568], "192.168.129.30/26"),
    ];
    for (number, (group, port, others, address)) in (1..).zip(files) {
        let original = recorded(&format!("config/parse.config.{number}.out"));
        assert!(
            original.contains(&format!("cidr: {address}\n")) && original.contains(&format!("{group}: !ruby/struct"))
        );
        let ports: Vec<_> = original.lines().filter_map(|line| line.trim().strip_prefix("port: ")).collect();
        let expected: Vec<_> = [port].iter().chain(others).map(i32::to_string).collect();
        assert_eq!(ports, expected, "the advertised URL, then those to bootstrap from");

        folder.assert_passes(&file(group, port, others, address));
    }
}

#[test]
fn the_smallest_file_of_the_readme_passes() {
    let readme = fs::read_to_string(workspace("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let folder = Folder::new("readme");
    fs::copy(folder.0.join("test_ssl/cert.pem"), folder.0.join("cert.pem")).unwrap();
    fs::copy(folder.0.join("test_ssl/key.pem"), folder.0.join("key.pem")).unwrap();

    folder.assert_passes(example);
}

#[test]
fn what_is_wrong_is_named_by_key_value_and_fix() {
    let folder = Folder::new("wrong");
    let cases = [
        ("control_api:\n", "control_api:\n    listen_port: 70000\n", "control_api/listen_port", "\"70000\""),
        ("uid: 100010", "uid: 0", "process/uid", "\"0\""),
        ("192.168.129.10/26", "10.1.2.3/26", "networking/ipv4/node_address_cidr", "\"10.1.2.3/26\""),
        ("level: debug", "level: chatty", "logging/level", "\"chatty\""),
        (
            "cert_file_path: test_ssl/cert.pem",
            "cert_file_path: absent.pem",
            "control_api/ssl/cert_file_path",
            "\"absent.pem\"",
        ),
        ("https://192.168.128.1:4567", "http://a", "clustering/control_api_advertise_url", "\"http://a\""),
    ];
    for (from, to, key, value) in cases {
        let text = file("local", 4567, &[4568], "192.168.129.10/26");
        assert!(text.contains(from), "{from}");

        let (code, stdout, stderr) = folder.check(&text.replacen(from, to, 1));

        assert_eq!((code, stdout.as_str()), (1, ""), "{to}");
        let lines: Vec<_> = stderr.lines().filter(|line| line.contains("tun_mesh/")).collect();
        assert_eq!(lines.len(), 1, "{stderr}");
        for part in [&format!("tun_mesh/{key} (line "), value, ". Fix: "] {
            assert!(lines[0].contains(part), "{part} is not in {stderr}");
        }
    }
}

#[test]
fn every_problem_is_named_at_once_and_no_secret_is_repeated() {
    let folder = Folder::new("several");
    let text = file("local", 4567, &[4568], "192.168.129.10/26")
        .replace("uid: 100010", "uid: 0\n    colour: blue")
        .replace("secret: bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha", "secret: hunter2hunter2")
        .replace("level: debug", "level: 7");

    let (code, _, stderr) = folder.check(&text);

    assert_eq!(code, 1);
    for key in ["process/uid", "process/colour", "clustering/auth/secret", "logging/level"] {
        assert!(stderr.contains(&format!("tun_mesh/{key} (line ")), "{key} is not in {stderr}");
    }
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn a_file_that_is_absent_or_no_yaml_is_one_clear_line() {
    let folder = Folder::new("broken");

    let (code, _, stderr) = said(&tunmesh(&["config", "check", "/absent/config.yaml"]));
    assert_eq!(code, 1);
    assert!(stderr.contains("/absent/config.yaml: No such file"), "{stderr}");

    let (code, _, stderr) = folder.check("tun_mesh: [1\n");
    assert_eq!(code, 1);
    assert!(stderr.contains("(line ") && stderr.contains("it is not YAML"), "{stderr}");
}

#[test]
fn a_weak_secret_passes_with_a_warning() {
    let folder = Folder::new("weak");
    let text = file("local", 4567, &[4568], "192.168.129.10/26")
        .replace("bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha", &"ab".repeat(20));

    let (code, stdout, _) = folder.check(&text);

    assert_eq!(code, 0);
    assert!(stdout.contains("warning: tun_mesh/clustering/auth/secret"), "{stdout}");
    assert!(stdout.contains("openssl rand -base64 32") && !stdout.contains("abab"), "{stdout}");
}

/// Required keys of the example that are placeholders: not commented out, and a value in angle brackets.
fn placeholders(example: &str) -> BTreeSet<String> {
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut found = BTreeSet::new();
    let mut is_required = false;
    for line in example.lines() {
        let (indent, text) = (line.len() - line.trim_start().len(), line.trim());
        if text.starts_with('#') {
            is_required |= text.starts_with("# REQUIRED. ");
            continue;
        }
        if let Some((name, value)) = text.split_once(':').filter(|_| !text.starts_with('-')) {
            path.retain(|(outer, _)| *outer < indent);
            path.push((indent, name));
            // The name of a bootstrap group is the reader's to choose.
            assert!(is_required || ["tun_mesh", "default"].contains(&name), "{name} stands there and is not required");
            is_required = false;
            if !value.contains('<') {
                continue;
            }
        } else if !text.contains('<') {
            continue;
        }
        let names: Vec<_> = path.iter().skip(1).map(|(_, name)| *name).collect();
        found.insert(names.join("/"));
    }
    found
}

/// One of the original's test files.
fn file(group: &str, port: i32, others: &[i32], address: &str) -> String {
    let urls: String = others.iter().map(|port| format!("        - https://192.168.128.1:{port}\n")).collect();
    format!(
        "tun_mesh:
  config_version: 1.1
  clustering:
    bootstrap_groups:
      {group}:
        bootstrap_node_urls:
{urls}    control_api_advertise_url: https://192.168.128.1:{port}
    auth:
      secret: bih0ohBoh4quib4apiehang6ohcahh9yo7eiw9ha
  control_api:
    ssl:
      cert_file_path: test_ssl/cert.pem
      key_file_path: test_ssl/key.pem
  logging:
    level: debug
  monitoring:
    method: prometheus
    prometheus:
      base_labels:
        env_name: local_test
  networking:
    ipv4:
      network_cidr: 192.168.129.0/24
      node_address_cidr: {address}
  process:
    uid: 100010
"
    )
}

/// A folder with the certificates the original's test files name; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tunmesh-config-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("test_ssl")).unwrap();
        for file in ["cert.pem", "key.pem"] {
            fs::write(path.join("test_ssl").join(file), recorded(&format!("tls/{file}"))).unwrap();
        }
        Self(path)
    }

    fn check(&self, text: &str) -> (i32, String, String) {
        let path = self.0.join("config.yaml");
        fs::write(&path, text).unwrap();
        check(&path)
    }

    fn assert_passes(&self, text: &str) {
        let (code, stdout, stderr) = self.check(text);
        assert_eq!((code, stderr.as_str()), (0, ""), "{text}");
        assert!(stdout.ends_with("config.yaml: OK\n"), "{stdout}");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn check(path: &Path) -> (i32, String, String) {
    said(&tunmesh(&["config", "check", path.to_str().unwrap()]))
}

#[test]
fn the_file_the_other_tests_start_nodes_from_passes() {
    let folder = Folder::new("tests");
    let text = Lab::text(2, "").replace("cert.pem", "test_ssl/cert.pem").replace("key.pem", "test_ssl/key.pem");

    folder.assert_passes(&text);
}
