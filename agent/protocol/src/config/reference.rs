use std::fmt::Write;

use super::schema::{KEYS, Key, Kind, Need, ROOT, Scalar};

/// The page docs/configuration.md: every key, from the same table as the validator.
pub fn reference() -> String {
    let mut text = String::from(HEAD);
    section(&mut text, ROOT, KEYS);
    text
}

fn section(text: &mut String, path: &str, keys: &[Key]) {
    let _infallible = writeln!(text, "\n## {path}\n\n| key | value | default | meaning |\n|---|---|---|---|");
    for key in keys {
        let default = match key.need {
            Need::Required => "required".to_owned(),
            Need::Absent => "absent".to_owned(),
            Need::Default(text) => format!("`{text}`"),
        };
        let addition = if key.ours { " **Not in the original.**" } else { "" };
        let mut meaning = format!("{}.{addition}", key.short);
        if !key.long.is_empty() {
            let _infallible = write!(meaning, " {}", key.long.replace('\n', " "));
        }
        if let Kind::List(Scalar::Choice(choices)) | Kind::One(Scalar::Choice(choices)) = key.kind {
            for (word, what) in choices {
                let _infallible = write!(meaning, " `{word}`: {what}.");
            }
        }
        let _infallible = writeln!(text, "| `{}` | {} | {default} | {meaning} |", key.name, key.kind.describe());
    }
    for key in keys {
        match key.kind {
            Kind::Group(keys) => section(text, &format!("{path}/{}", key.name), keys),
            Kind::Groups(keys) => section(text, &format!("{path}/{}/NAME", key.name), keys),
            Kind::Labels | Kind::List(_) | Kind::One(_) => {}
        }
    }
}

const HEAD: &str = "# Configuration

Written by `make docs` from the table the validator reads; do not edit by hand.

The agent reads one YAML file: `tunmesh run --config FILE`, else `TUNMESH_CONFIG_PATH`, else `/etc/tunmesh/config.yaml`. It is the format 1.1 of the original Tun Mesh 0.7; a file of
its starts this agent unchanged. `tunmesh config example` prints one to fill in, `tunmesh config check FILE` names everything that is wrong with one.

A changed file is taken over while the agent runs (within 2 s, or at once on SIGHUP), as are changed certificate files. What was used up at start keeps its value until a restart, and the
log says so: the device, addresses, MTU (but for `tun_handover` with a socket), routes and `clamp_mss`, the listening address and port and the URL others are told, the whole of `data_plane` but `keepalive`, user and group, the
key size, `address_certificates`, the log format.

Durations are seconds (`1.5`), a number with `s`, `m`, `h` or `d` (`15m`), or a range of which one value is chosen at start (`5..10s`).
";
