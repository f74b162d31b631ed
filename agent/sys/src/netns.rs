//! Network namespaces, held by a descriptor.
#![expect(unsafe_code, reason = "pre_exec is how a child process changes its namespace before exec")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};

use crate::links::{self, LinkError};

/// A network namespace. It lives as long as this descriptor, a process or a mount is in it.
#[derive(Debug)]
pub struct Netns(OwnedFd);

/// Why a network namespace was not made or entered.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// Its inode was not told.
    #[error("failed to tell a network namespace from others")]
    Describe(#[source] io::Error),
    /// Needs `CAP_SYS_ADMIN` over the namespace.
    #[error("failed to enter a network namespace (needs CAP_SYS_ADMIN)")]
    Enter(#[source] io::Error),
    /// A link inside the namespace was refused.
    #[error("failed to set up a network namespace")]
    Link(#[source] LinkError),
    /// The namespace's file is absent or unreadable.
    #[error("failed to open network namespace {path}")]
    Open {
        /// File of the namespace.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The scratch thread was refused.
    #[error("failed to start a thread")]
    Thread(#[source] io::Error),
    /// Needs `CAP_SYS_ADMIN`.
    #[error("failed to make a network namespace (needs CAP_SYS_ADMIN)")]
    Unshare(#[source] io::Error),
}

impl Netns {
    /// Makes a new namespace with its loopback device up; the calling thread stays where it is.
    pub fn create() -> Result<Self, NetnsError> {
        in_scratch_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|error| NetnsError::Unshare(error.into()))?;
            links::set_up("lo").map_err(NetnsError::Link)?;
            Self::current()
        })?
    }

    /// Opens a namespace by its file, such as `/run/netns/blue` or `/proc/42/ns/net`.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        match File::open(path) {
            Ok(file) => Ok(Self(file.into())),
            Err(source) => Err(NetnsError::Open { path: path.to_owned(), source }),
        }
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Opens the namespace that is mounted at `path`; `None` if nothing is, or something else.
    pub fn mounted(path: &Path) -> Result<Option<Self>, NetnsError> {
        let netns = Self::open(path)?;
        let open = |error: Errno| NetnsError::Open { path: path.to_owned(), source: error.into() };
        Ok((fstatfs(&netns.0).map_err(open)?.filesystem_type() == NSFS_MAGIC).then_some(netns))
    }

    /// What tells it from every other namespace there is now: its inode.
    pub fn id(&self) -> Result<u64, NetnsError> {
        Ok(fstat(&self.0).map_err(|error| NetnsError::Describe(error.into()))?.st_ino)
    }

    /// Whether the calling thread is in the network namespace that the kernel began with: only that one has the settings of
    /// the receive path, which are not per namespace (`net_core_table` of net/core/sysctl_net_core.c).
    pub fn is_hosts() -> bool {
        Path::new("/proc/sys/net/core/netdev_max_backlog").exists()
    }

    /// Runs `work` in a scratch thread inside the namespace and returns its result; a panic in it goes on here.
    ///
    /// Sockets and TUN devices made by `work` stay in the namespace wherever they are used later.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        in_scratch_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET).map_err(|error| NetnsError::Enter(error.into()))?;
            Ok(work())
        })?
    }

    /// Makes the child that `command` will spawn start inside the namespace.
    pub fn join_on_exec(&self, command: &mut Command) -> Result<(), NetnsError> {
        let namespace = self.0.try_clone().map_err(NetnsError::Enter)?;
        // SAFETY: between fork and exec the closure makes one system call, on a descriptor it owns; no allocation.
        unsafe { command.pre_exec(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?)) };
        Ok(())
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where the kernel keeps namespaces (linux/magic.h).
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// A thread of its own, because a namespace is a property of a thread and a pooled thread would carry it on.
fn in_scratch_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    thread::scope(|scope| {
        let scratch = thread::Builder::new().name("netns".to_owned());
        let running = scratch.spawn_scoped(scope, work).map_err(NetnsError::Thread)?;
        Ok(running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
