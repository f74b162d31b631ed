//! `tunmesh run --supervise`: a small first process that starts the agent, and starts it again at once when a signal ends it.
//!
//! Whoever runs containers takes a second to start one again, and from the second time on waits ten and more. This takes some
//! milliseconds. One thread, no runtime, nothing of the agent: signals are blocked and waited for one by one.

mod ends;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use tunmesh_sys::privileges;

use self::ends::{End, Ends, Next};

/// Runs the agent by this process' command line until it ends by itself, is told to stop, or is ended by signals too often;
/// returns its exit status, or 128 and the number of the signal.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    // Token and keys can be read in /proc/PID/root of whoever is not hidden.
    privileges::hide()?;
    prctl::set_no_new_privs().context("failed to set no_new_privs")?;
    let signals = waited_for();
    signals.thread_block().context("failed to block signals")?;
    let mut ends = Ends::default();
    let mut agent = Agent::start(None)?;
    loop {
        let signal = signals.wait().context("failed to wait for a signal")?;
        if signal != Signal::SIGCHLD {
            kill(agent.pid, signal).with_context(|| format!("failed to pass {signal} on"))?;
            ends.passed_on(signal);
            continue;
        }
        let Some(end) = agent.collect()? else { continue };
        let now = Instant::now();
        match ends.decide(end, now) {
            Next::End(status) => return Ok(status.into()),
            Next::GiveUp { signal, status } => {
                let _closed = writeln!(io::stderr(), "tunmesh: signals ended the agent too often, now {signal}");
                return Ok(status.into());
            }
            Next::Restart { signal } => {
                let lived = now.duration_since(agent.started_at);
                agent = Agent::start(Some(format!("{signal} after {lived:.1?}")))?;
            }
        }
    }
}

/// Has this process, an agent, end with its supervisor, and takes the signals that the supervisor blocks.
pub(crate) fn join(supervisor: i32) -> anyhow::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("failed to ask for a signal at the end of the supervisor")?;
    // It may have ended before; then this process has another parent.
    if getppid() != Pid::from_raw(supervisor) {
        bail!("process {supervisor}, the supervisor, has ended");
    }
    // It was started from a link of another name.
    prctl::set_name(c"tunmesh").context("failed to name the process")?;
    waited_for().thread_unblock().context("failed to unblock signals")
}

/// What the supervisor waits for: the end of a process, and what an agent takes.
fn waited_for() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].into_iter().collect()
}

/// The process that is supervised.
struct Agent {
    pid: Pid,
    started_at: Instant,
}

impl Agent {
    /// Starts this program again. Like the environment, the signal mask is inherited; the agent undoes that in [`join`].
    fn start(previous_end: Option<String>) -> anyhow::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        let mut given = std::env::args_os();
        command.arg0(given.next().unwrap_or_else(|| "tunmesh".into())).args(arguments(given, getpid(), previous_end));
        let started_at = Instant::now();
        let child = command.spawn().context("failed to start the agent")?;
        let pid = i32::try_from(child.id()).context("the agent's process number is out of range")?;
        Ok(Self { pid: Pid::from_raw(pid), started_at })
    }

    /// Collects all processes that have ended, as the first process of a container must; returns how the agent did.
    fn collect(&self) -> anyhow::Result<Option<End>> {
        let mut end = None;
        loop {
            let (pid, ended) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) => (pid, End::Exited(u8::try_from(status).unwrap_or(u8::MAX))),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, End::Signaled(signal)),
                Ok(_) | Err(Errno::ECHILD) => return Ok(end),
                Err(error) => return Err(error).context("failed to wait for the agent"),
            };
            if pid == self.pid {
                end = Some(ended);
            }
        }
    }
}

/// The arguments of an agent: those `given` to the supervisor, with who supervises in the place of `--supervise`.
fn arguments(
    given: impl Iterator<Item = OsString>,
    supervisor: Pid,
    previous_end: Option<String>,
) -> impl Iterator<Item = OsString> {
    let previous_end = previous_end.map(|end| format!("--previous-end={end}"));
    let ours = [Some(format!("--supervised-by={supervisor}")), previous_end];
    given.flat_map(move |argument| match argument == "--supervise" {
        true => ours.iter().flatten().map(OsString::from).collect(),
        false => vec![argument],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_the_arguments_of_its_supervisor_but_for_one() {
        let of = |previous_end: Option<&str>| -> Vec<_> {
            let given = ["run", "-c", "a b", "--supervise", "--"].into_iter().map(OsString::from);
            arguments(given, Pid::from_raw(7), previous_end.map(str::to_owned)).collect()
        };

        assert_eq!(of(None), ["run", "-c", "a b", "--supervised-by=7", "--"]);
        assert_eq!(
            of(Some("SIGKILL after 1.0s")),
            ["run", "-c", "a b", "--supervised-by=7", "--previous-end=SIGKILL after 1.0s", "--"]
        );
    }
}
