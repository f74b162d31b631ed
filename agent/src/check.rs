//! Diagnosis: what keeps this node from being a good member of its mesh, each finding with a code, its cause and its fix.
//!
//! [`mod@gather`] looks at the file, the running node and the host and writes down [`Facts`]; every check is a pure function
//! of those. docs/diagnosis.md has a section per code.

mod certificate;
mod facts;
mod gather;
mod host;
mod local;
mod mesh;
mod network;
mod peers;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub(crate) use self::facts::Facts;
pub(crate) use self::gather::{Sources, gather};

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) code: &'static str,
    pub(crate) level: Level,
    pub(crate) title: &'static str,
    /// Place and value.
    pub(crate) found: String,
    pub(crate) cause: String,
    pub(crate) fix: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// Something does not work.
    Error,
    /// Worth to know, nothing to mend.
    Note,
    /// It works, but worse than it could, or not for long.
    Warning,
}

impl Level {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Note => "note",
            Self::Warning => "warning",
        }
    }
}

/// All that the checks find, ordered by code.
pub(crate) fn findings(facts: &Facts) -> Vec<Finding> {
    CHECKS
        .iter()
        .flat_map(|check| {
            let finding = |Found { level, found, cause, fix }| Finding {
                code: check.code,
                level,
                title: check.title,
                found,
                cause,
                fix,
            };
            (check.run)(facts).into_iter().map(finding)
        })
        .collect()
}

/// One check. A code, once given, keeps its meaning.
struct Check {
    code: &'static str,
    title: &'static str,
    run: fn(&Facts) -> Vec<Found>,
}

/// What one check found, without code and title.
struct Found {
    level: Level,
    found: String,
    cause: String,
    fix: String,
}

impl Found {
    fn new(level: Level, found: impl Into<String>, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level, found: found.into(), cause: cause.into(), fix: fix.into() }
    }
}

const CHECKS: [Check; 14] = [
    Check { code: "TM0001", title: "the configuration cannot be used", run: local::configuration },
    Check { code: "TM0002", title: "a certificate is outside of its validity, or soon will be", run: local::validity },
    Check { code: "TM0003", title: "the certificate lacks a name", run: local::names },
    Check { code: "TM0004", title: "no node answers", run: local::node },
    Check { code: "TM0005", title: "clocks differ", run: mesh::clocks },
    Check { code: "TM0006", title: "datagrams to a peer are blocked", run: peers::blocked },
    Check { code: "TM0007", title: "a path takes smaller packets than the device", run: peers::small_path },
    Check { code: "TM0008", title: "two nodes claim one address", run: mesh::contested },
    Check { code: "TM0009", title: "a route of this host overlaps the mesh", run: network::overlaps },
    Check { code: "TM0010", title: "the kernel moves packets one by one", run: local::offloads },
    Check { code: "TM0011", title: "the secrets of two nodes differ", run: mesh::secrets },
    Check { code: "TM0012", title: "a peer runs other software", run: peers::versions },
    Check { code: "TM0013", title: "no member was found", run: mesh::members },
    Check { code: "TM0014", title: "datagrams are larger than the network takes", run: network::uplinks },
];
