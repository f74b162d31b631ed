//! Diagnosis of a cluster: what keeps its meshes from working, each finding with a code, where, its cause and its fix.
//!
//! `gather` asks the API server and writes down `Facts`; every check is a pure function of those. docs/operations.md
//! has a section per code.

mod cluster;
mod facts;
mod gather;
mod members;
mod meshes;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde::Serialize;

pub(crate) use facts::Facts;
use gather::gather;

/// Prints what is wrong with the meshes of the cluster, as text or JSON. Exit status 1 if there is an error.
///
/// # Errors
///
/// The API server does not tell, or nobody reads.
pub async fn run(client: Client, namespace: &str, json: bool) -> anyhow::Result<ExitCode> {
    let facts = gather(client, namespace, Timestamp::now()).await.context("failed to look at the cluster")?;
    let findings = findings(&facts);
    let text =
        if json { serde_json::to_string_pretty(&Document { findings: &findings })? + "\n" } else { text(&findings) };
    std::io::stdout().write_all(text.as_bytes()).context("failed to print")?;
    let is_bad = findings.iter().any(|finding| finding.level == Level::Error);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[derive(Serialize)]
struct Document<'a> {
    findings: &'a [Finding],
}

fn text(findings: &[Finding]) -> String {
    let one = |finding: &Finding| {
        let Finding { code, level, title, found, cause, fix } = finding;
        format!("{code} {}: {title}\n  found: {found}\n  cause: {cause}\n  fix:   {fix}\n", level.as_str())
    };
    if findings.is_empty() { "nothing found\n".to_owned() } else { findings.iter().map(one).collect() }
}

/// One thing that was found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
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
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// Something does not work.
    Error,
    /// It works, but worse than it could, or not for long.
    Warning,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// All that the checks find, ordered by code.
pub(crate) fn findings(facts: &Facts) -> Vec<Finding> {
    let of = |check: &Check| {
        let (code, title) = (check.code, check.title);
        let finding = move |Found { level, found, cause, fix }| Finding { code, level, title, found, cause, fix };
        (check.run)(facts).into_iter().map(finding).collect::<Vec<_>>()
    };
    CHECKS.iter().flat_map(of).collect()
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

const CHECKS: [Check; 9] = [
    Check { code: "TM1001", title: "a kind is not served", run: cluster::definitions },
    Check { code: "TM1002", title: "the webhook cannot be called", run: cluster::webhook },
    Check { code: "TM1003", title: "no operator is ready", run: cluster::operator },
    Check { code: "TM1004", title: "a node has no node helper", run: cluster::helpers },
    Check { code: "TM1005", title: "a mesh is not as it should be", run: meshes::conditions },
    Check { code: "TM1006", title: "a member is not in its mesh", run: members::conditions },
    Check { code: "TM1007", title: "a pod has no sidecar", run: members::without_sidecar },
    Check { code: "TM1008", title: "a certificate was not renewed", run: members::certificates },
    Check { code: "TM1009", title: "a member has an address that it did not claim", run: members::claims },
];
