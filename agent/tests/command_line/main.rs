//! The command line as a person or a script meets it, and the files that are there to be copied.
//! Needs root and /dev/net/tun for whatever runs a node.
#![expect(clippy::unwrap_used, reason = "what tests share fails like a test")]

mod config;
mod demo;
mod endpoints;
mod examples;
mod export;
mod exposition;
#[path = "../support/mod.rs"]
mod support;
mod texts;
mod yaml;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs the agent to its end.
fn tunmesh(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tunmesh")).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Exit status, standard output and standard error.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A file of the workspace.
fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// A recorded file of the original.
fn recorded(path: &str) -> String {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/tests/vectors/tunmesh-v0");
    std::fs::read_to_string(vectors.join(path)).unwrap()
}
