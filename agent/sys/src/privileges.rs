//! Giving up, for good, everything a running agent does not need.

mod files;
mod parent;
mod system_calls;

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, getresgid, getresuid, setgroups, setresgid, setresuid};

pub use self::files::FileRules;
use crate::capabilities::{self, Capability};
use crate::resident;

/// Who the agent is to be, and what it may still read.
#[derive(Clone, Debug)]
pub struct Confinement {
    /// User, real, effective and saved.
    pub uid: u32,
    /// Group, likewise; no supplementary groups.
    pub gid: u32,
    /// Files and directories that are read again later: configuration, certificates, `/etc` for name resolution.
    ///
    /// A file is allowed as the object it is now. One that is replaced rather than written (by an editor, a Kubernetes
    /// Secret or a certificate renewal) must be allowed by its directory.
    pub readable: Vec<PathBuf>,
}

/// What was given up; `Display` is a line for the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Confined {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Whether the bounding set was emptied too, which needs `CAP_SETPCAP`.
    pub bounding_cleared: bool,
    /// Whether supplementary groups remain, because leaving them needs `CAP_SETGID`.
    pub groups_kept: bool,
    /// How far the kernel enforces the file rules.
    pub landlock: FileRules,
    /// Readable paths that do not exist or cannot be reached by the new user; they stay unreadable.
    pub unreachable: Vec<PathBuf>,
    /// Number of system calls still allowed; every other fails with `EPERM`.
    pub seccomp: usize,
}

/// Why a process was not confined. It may be half confined then and must not go on.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Capabilities stayed.
    #[error("failed to give up the capabilities")]
    Capabilities(#[source] io::Error),
    /// The process stayed dumpable.
    #[error("failed to make the process undumpable")]
    Dumpable(#[source] io::Error),
    /// The kernel refused the file rules, though it knows Landlock.
    #[error("failed to restrict file access")]
    Files(#[source] landlock::RulesetError),
    /// Needs `CAP_SETGID`, unless the process has that group already.
    #[error("failed to become group {gid}; start as root, or as that group")]
    Group {
        /// Group asked for.
        gid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The filter was refused.
    #[error("failed to restrict the system calls")]
    SystemCalls(#[source] seccompiler::Error),
    /// The signal at the end of the parent could not be asked for again, or the parent has ended.
    #[error("failed to stay bound to the process that started this one")]
    Parent(#[source] io::Error),
    /// Other threads would keep what this one gives up.
    #[error("the process has {threads} threads; it must be confined before it starts any")]
    Threads {
        /// Number of threads.
        threads: usize,
    },
    /// The process' own threads could not be counted.
    #[error("failed to count the threads of the process in /proc/self/task")]
    ThreadsUnknown(#[source] io::Error),
    /// Needs `CAP_SETUID`, unless the process is that user already.
    #[error("failed to become user {uid}; start as root, or as that user")]
    User {
        /// User asked for.
        uid: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Confines the process: user and group, no capability, no new privileges, few files, few system calls.
///
/// Must run while the process has one thread; every later thread inherits all of it. Descriptors opened before stay
/// usable: TUN device, netlink and listening sockets. Afterwards no file can be written, created or removed and no
/// program run, so socket files must be bound before and cannot be removed by this process.
pub fn confine(confinement: &Confinement) -> Result<Confined, PrivilegeError> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(PrivilegeError::ThreadsUnknown)?.count();
    if threads != 1 {
        return Err(PrivilegeError::Threads { threads });
    }
    // Its file must be open before the rules forbid it; without it one metric is missing, no more.
    let _missing_metric = resident::rss_bytes();
    let bounding_cleared = match capabilities::clear_bounding() {
        Err(Errno::EPERM) => false,
        cleared => cleared.map(|()| true).map_err(|error| PrivilegeError::Capabilities(error.into()))?,
    };
    let mut groups_kept = false;
    parent::keep_bound(|| {
        groups_kept = leave_groups(confinement.gid)?;
        become_user(confinement.uid)
    })?;
    capabilities::clear().map_err(|error| PrivilegeError::Capabilities(error.into()))?;
    // After the change of user, which sets it to the host's default.
    hide()?;
    let (landlock, unreachable) = files::restrict(&confinement.readable).map_err(PrivilegeError::Files)?;
    let seccomp = system_calls::restrict().map_err(PrivilegeError::SystemCalls)?;
    let Confinement { uid, gid, readable: _ } = *confinement;
    Ok(Confined { uid, gid, bounding_cleared, groups_kept, landlock, unreachable, seccomp })
}

/// Keeps other processes of this user out of `/proc/PID/{mem,fd,root}` and away from ptrace, as [`confine`] does in the end.
pub fn hide() -> Result<(), PrivilegeError> {
    prctl::set_dumpable(false).map_err(|error| PrivilegeError::Dumpable(error.into()))
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, gid, bounding_cleared, groups_kept, landlock, unreachable, seccomp } = self;
        write!(f, "user {uid}, group {gid}, no capability")?;
        if !bounding_cleared {
            write!(f, " (bounding set as found)")?;
        }
        if *groups_kept {
            write!(f, ", supplementary groups as found")?;
        }
        write!(f, ", landlock {landlock}, seccomp allows {seccomp} system calls")?;
        for path in unreachable {
            write!(f, ", cannot read {}", path.display())?;
        }
        Ok(())
    }
}

/// Returns whether supplementary groups stay, as they do for a pod's user without capabilities.
fn leave_groups(gid: u32) -> Result<bool, PrivilegeError> {
    let refused = |error: Errno| PrivilegeError::Group { gid, source: error.into() };
    let group = Gid::from_raw(gid);
    let current = getresgid().map_err(refused)?;
    let is_already = [current.real, current.effective, current.saved] == [group; 3];
    if is_already && !capabilities::has(Capability::SetGid) {
        return Ok(nix::unistd::getgroups().map_err(refused)?.iter().any(|held| *held != group));
    }
    let groups_kept = match setgroups(&[]) {
        // A user namespace of one user, made without privileges, forbids it for good.
        Err(Errno::EPERM) if is_already => true,
        left => left.map(|()| false).map_err(refused)?,
    };
    setresgid(group, group, group).map_err(refused)?;
    Ok(groups_kept)
}

fn become_user(uid: u32) -> Result<(), PrivilegeError> {
    let refused = |error: Errno| PrivilegeError::User { uid, source: error.into() };
    let user = Uid::from_raw(uid);
    let current = getresuid().map_err(refused)?;
    let is_already = [current.real, current.effective, current.saved] == [user; 3];
    if is_already && !capabilities::has(Capability::SetUid) {
        return Ok(());
    }
    setresuid(user, user, user).map_err(refused)
}
