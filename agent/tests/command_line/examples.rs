//! docs/examples: files that are there to be copied.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::json;

use crate::{workspace, yaml};

#[test]
fn the_systemd_unit_has_known_keys_only_and_what_the_agent_needs() {
    let unit = fs::read_to_string(workspace("docs/examples/tunmesh.service")).unwrap();
    check_unit(&unit);
    // Not every machine that runs tests has systemd; the check above is made everywhere.
    verify_unit(&unit);
}

fn check_unit(unit: &str) {
    let known: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("Unit", &["Description", "Documentation", "After", "Wants"][..]),
        ("Service", SERVICE),
        ("Install", &["WantedBy"]),
    ]);
    let mut section = "";
    let mut found: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for line in unit.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            assert!(known.contains_key(section), "{line}");
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        assert!(known[section].contains(&key), "[{section}] {line}");
        assert!(!value.is_empty() && value == value.trim() && key == key.trim(), "{line}");
        assert!(found.insert((section, key), value).is_none(), "twice: {line}");
    }
    assert_eq!(found[&("Service", "ExecStart")], "/usr/local/bin/tunmesh run --config /etc/tunmesh/config.yaml");
    assert_eq!(found[&("Service", "NoNewPrivileges")], "true");
    let ceiling: Vec<_> = found[&("Service", "CapabilityBoundingSet")].split(' ').collect();
    for needed in ["CAP_NET_ADMIN", "CAP_SETUID", "CAP_SETGID"] {
        assert!(ceiling.contains(&needed), "{needed}");
    }
    assert_eq!(found[&("Install", "WantedBy")], "multi-user.target");
}

/// Asks systemd itself, where there is one.
fn verify_unit(unit: &str) {
    let folder = std::env::temp_dir().join(format!("tunmesh-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let copy = folder.join("tunmesh.service");
    // The verifier wants the program to be there.
    fs::write(&copy, unit.replace("/usr/local/bin/tunmesh", env!("CARGO_BIN_EXE_tunmesh"))).unwrap();

    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output();

    fs::remove_dir_all(&folder).unwrap();
    match verified {
        Ok(output) => {
            let complaints = String::from_utf8_lossy(&output.stderr);
            let ours: Vec<_> = complaints.lines().filter(|line| line.contains("tunmesh")).collect();
            assert!(output.status.success() && ours.is_empty(), "{complaints}");
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
    }
}

#[test]
fn the_compose_file_gives_the_agent_what_it_needs_and_no_more() {
    let compose = yaml::load(&fs::read_to_string(workspace("docs/examples/docker-compose.yaml")).unwrap());

    let services = compose["services"].as_object().unwrap();
    let agent = &services["tunmesh"];
    let beside = agent["network_mode"].as_str().unwrap().strip_prefix("service:").unwrap();
    assert_eq!(services[beside]["ports"], json!(["4567:4567"]), "published where the network namespace is made");
    assert!(agent.get("ports").is_none(), "compose refuses ports with network_mode");
    assert_eq!(agent["command"], json!(["run", "--config", "/etc/tunmesh/config.yaml"]));
    assert_eq!(agent["devices"], json!(["/dev/net/tun:/dev/net/tun"]));
    assert_eq!(agent["cap_drop"], json!(["ALL"]));
    assert_eq!(agent["cap_add"], json!(["NET_ADMIN", "SETUID", "SETGID", "SETPCAP"]));
    assert_eq!(agent["security_opt"], json!(["no-new-privileges:true"]));
    assert_eq!(agent["read_only"], true);
    assert_eq!(agent["volumes"], json!(["./tunmesh:/etc/tunmesh:ro"]));
    assert_eq!(agent["healthcheck"]["test"], json!(["CMD", "/usr/local/bin/tunmesh", "status"]));
}

const SERVICE: &[&str] = &[
    "CapabilityBoundingSet",
    "DeviceAllow",
    "DevicePolicy",
    "ExecReload",
    "ExecStart",
    "ExecStartPre",
    "LimitNOFILE",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoNewPrivileges",
    "PrivateTmp",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectSystem",
    "Restart",
    "RestartSec",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "SystemCallArchitectures",
    "Type",
];
