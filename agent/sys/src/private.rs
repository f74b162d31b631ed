//! A child process in namespaces of its own, which vanish with it and with this process, however either ends.
//!
//! For the demonstration and for tests: whatever the child does to links, routes, mounts and processes, it does inside.
//! The child process proper is the first process of its process namespace: it prepares the namespaces, starts the
//! program, collects orphans, and its end, which is bound to that of this process, ends every process inside.
#![expect(unsafe_code, reason = "namespaces are made together with the process by one clone, before any exec")]

mod error;
mod init;

use std::ffi::{CString, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid, pipe2};

use self::error::FAILURE_LEN;
pub use self::error::{Advice, PrivateError, Step};
use self::init::Program;
use crate::capabilities::{self, Capability};

/// A program in private namespaces. Dropping it kills everything inside.
#[derive(Debug)]
pub struct PrivateChild {
    init: Pid,
    status: Option<ExitStatus>,
}

/// Starts `program` in new network, mount, IPC and process namespaces, with the loopback device up, mounts private, a
/// `/proc` of its own where the host allows it, and an empty `/run`.
///
/// `program` is a path and not looked up; it gets this process' environment, standard input, output and error. Without
/// `CAP_SYS_ADMIN` and `CAP_NET_ADMIN` a user namespace is made too, whose only user and group, 65532, are this
/// process'; the program then holds `CAP_NET_ADMIN`, `CAP_NET_RAW` and `CAP_SYS_ADMIN` inside, and so do the programs it
/// runs. Returns once the program runs.
///
/// Everything inside is killed when the calling *thread* ends: call it from one that lasts, such as the main thread.
pub fn spawn(program: &Path, args: &[OsString]) -> Result<PrivateChild, PrivateError> {
    OpenOptions::new().read(true).write(true).open(TUN_FILE).map_err(PrivateError::TunDevice)?;
    let with_users = !(capabilities::has(Capability::SysAdmin) && capabilities::has(Capability::NetAdmin));
    let prepared = Program::new(c_string(program.as_os_str().as_bytes())?, arguments(program, args)?, environment());
    let (go, mut start) = channel()?;
    let (mut outcome, report) = channel()?;

    let mut flags = libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWPID;
    if with_users {
        flags |= libc::CLONE_NEWUSER;
    }
    // No handler of this process may run in the copy of it that becomes the child.
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before)).map_err(pipe_error)?;
    // SAFETY: like fork. The child runs `init::run` only, which makes system calls and allocates nothing, and it never
    // returns from it, so that other threads' locks, copied in whatever state, are not touched.
    let cloned = Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) });
    if cloned == Ok(0) {
        init::run(&prepared, &go, start, &report, with_users);
    }
    let restored = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    let pid = cloned.map_err(|error| PrivateError::Namespaces { advice: Advice::now(), source: error.into() })?;
    let child = PrivateChild { init: Pid::from_raw(pid as i32), status: None };
    restored.map_err(pipe_error)?;
    drop((go, report));

    if with_users {
        map_user(child.init).map_err(PrivateError::IdMap)?;
    }
    start.write_all(&[1]).map_err(PrivateError::Pipe)?;
    let mut failure = Vec::new();
    outcome.read_to_end(&mut failure).map_err(PrivateError::Pipe)?;
    match <[u8; FAILURE_LEN]>::try_from(failure.as_slice()) {
        Ok(failure) => Err(PrivateError::of(failure, program)),
        Err(_) if failure.is_empty() => Ok(child),
        Err(_) => Err(PrivateError::Pipe(io::ErrorKind::UnexpectedEof.into())),
    }
}

impl PrivateChild {
    /// Process number of the namespace's first process, as seen from here.
    pub fn id(&self) -> u32 {
        self.init.as_raw().unsigned_abs()
    }

    /// Kills everything inside; nothing if it has ended.
    pub fn kill(&mut self) -> io::Result<()> {
        self.signal(Signal::SIGKILL)
    }

    /// Asks the program to end (SIGTERM); nothing if it has ended.
    pub fn terminate(&mut self) -> io::Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Waits for the program's end and returns its status; 128 and the signal's number if a signal ended it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.reap(WaitPidFlag::empty())? {
                return Ok(status);
            }
        }
    }

    /// Returns the program's status if it has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.reap(WaitPidFlag::WNOHANG)
    }

    fn signal(&mut self, signal: Signal) -> io::Result<()> {
        // Until it is waited for the number is not given to another process.
        match self.status {
            Some(_) => Ok(()),
            None => Ok(kill(self.init, signal)?),
        }
    }

    fn reap(&mut self, flags: WaitPidFlag) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = match waitpid(self.init, Some(flags)) {
                Err(Errno::EINTR) => None,
                waited => ended(waited?),
            };
        }
        Ok(self.status)
    }
}

impl Drop for PrivateChild {
    fn drop(&mut self) {
        let _ended_already = self.kill();
        let _reaped_elsewhere = self.wait();
    }
}

fn ended(status: WaitStatus) -> Option<ExitStatus> {
    // As wait(2) encodes it: an exit code in the upper byte, a signal in the lower.
    if let WaitStatus::Exited(_, code) = status {
        return Some(ExitStatus::from_raw(code << 8));
    }
    let WaitStatus::Signaled(_, signal, _) = status else { return None };
    Some(ExitStatus::from_raw(signal as i32))
}

/// Maps one user and group, which is all an unprivileged process may map: its own.
fn map_user(child: Pid) -> io::Result<()> {
    let directory = format!("/proc/{child}");
    // The kernel lets a group be mapped only by one who can no longer leave groups.
    fs::write(format!("{directory}/setgroups"), "deny")?;
    fs::write(format!("{directory}/gid_map"), format!("{INSIDE_ID} {} 1", getegid()))?;
    fs::write(format!("{directory}/uid_map"), format!("{INSIDE_ID} {} 1", geteuid()))
}

fn arguments(program: &Path, args: &[OsString]) -> Result<Vec<CString>, PrivateError> {
    let own_name = std::iter::once(program.as_os_str());
    own_name.chain(args.iter().map(OsString::as_os_str)).map(|arg| c_string(arg.as_bytes())).collect()
}

fn environment() -> Vec<CString> {
    let entry = |(key, value): (OsString, OsString)| [key.into_vec(), value.into_vec()].join(&b'=');
    // An environment string cannot hold a NUL, so nothing is left out.
    std::env::vars_os().filter_map(|variable| CString::new(entry(variable)).ok()).collect()
}

fn c_string(bytes: &[u8]) -> Result<CString, PrivateError> {
    CString::new(bytes).map_err(|_| PrivateError::Argument)
}

fn channel() -> Result<(fs::File, fs::File), PrivateError> {
    let (reader, writer): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC).map_err(pipe_error)?;
    Ok((reader.into(), writer.into()))
}

fn pipe_error(error: Errno) -> PrivateError {
    PrivateError::Pipe(error.into())
}

const TUN_FILE: &str = "/dev/net/tun";

/// User and group inside: those the agent runs as in a pod, so that the same configuration holds here.
const INSIDE_ID: u32 = 65532;
