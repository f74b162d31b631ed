//! `tunmesh demo`: three nodes, a mesh between them, traffic through it, a table.
//!
//! Everything happens inside namespaces that belong to one child process: when it ends, however it ends, the kernel
//! removes devices, routes, processes and files with it, so there is nothing to clean up after a kill.

mod measure;
mod ping;
mod report;
mod stage;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;

pub(super) use stage::stage;

/// What the command line asks for.
pub(super) struct Options {
    pub(super) json: bool,
    pub(super) keep: bool,
    pub(super) seconds: u64,
}

/// Runs the stage in namespaces of its own and returns its exit status.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mut args: Vec<OsString> = vec!["demo-stage".into(), "--seconds".into(), options.seconds.to_string().into()];
    args.extend(options.json.then(|| "--json".into()));
    args.extend(options.keep.then(|| "--keep".into()));
    let program = std::env::current_exe().context("failed to find this program's own file")?;
    let mut child = tunmesh_sys::private::spawn(&program, &args).context("failed to start the demo")?;
    if options.keep {
        progress(&how_to_try(child.id()));
    }
    let status = child.wait().context("failed to wait for the demo")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Tells the person at the terminal what happens; on standard error, so that `--json` stays clean.
fn progress(line: &str) {
    use std::io::Write;
    let _closed = writeln!(std::io::stderr(), "{line}");
}

fn how_to_try(pid: u32) -> String {
    let root = nix::unistd::geteuid().is_root();
    let enter = if root {
        format!("nsenter -t {pid} -m -n -p")
    } else {
        format!("nsenter -t {pid} -U --preserve-credentials -m -n -p")
    };
    format!(
        "The mesh will stay up until you press Ctrl-C here. Once it runs, try in another terminal:\n  \
         {enter} ip netns exec tm1 ping -c 3 192.168.129.30\n  \
         {enter} ip netns exec tm1 {} status\n",
        std::env::current_exe().map_or_else(|_| "tunmesh".into(), |path| path.display().to_string())
    )
}
