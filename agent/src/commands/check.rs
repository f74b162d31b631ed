use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::print;
use crate::check::{Finding, Level, Sources, findings, gather};

/// Prints what is wrong with this node and its surroundings; exit status 1 if anything does not work.
pub(super) fn run(file: &Path, device: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let found = findings(&gather(&Sources { file, device }));
    if json {
        print(&format!("{}\n", json!({ "findings": found })))?;
    } else {
        print(&render(&found))?;
    }
    let has_errors = found.iter().any(|finding| finding.level == Level::Error);
    Ok(if has_errors { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn render(found: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { code, level, title, found, cause, fix } in found {
        let level = level.as_str();
        let _infallible =
            writeln!(text, "{code} {level}: {title}\n  found: {found}\n  cause: {cause}\n  fix:   {fix}\n");
    }
    let count = |level| found.iter().filter(|finding| finding.level == level).count();
    let [errors, warnings, notes] = [Level::Error, Level::Warning, Level::Note].map(count);
    let _infallible = writeln!(text, "errors {errors}, warnings {warnings}, notes {notes}");
    text
}
