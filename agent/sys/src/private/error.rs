//! Why there are no private namespaces, and what to do.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a program was not started in private namespaces; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// A program name or argument contains a NUL byte.
    #[error("the program or one of its arguments contains a NUL byte")]
    Argument,
    /// The program did not start.
    #[error("failed to run {program}")]
    Exec {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The user of the new user namespace was not mapped.
    #[error("failed to map this user into a new user namespace")]
    IdMap(#[source] io::Error),
    /// The namespaces were refused.
    #[error("failed to make private namespaces: {advice}")]
    Namespaces {
        /// What to do about it.
        advice: Advice,
        /// What the kernel said.
        source: io::Error,
    },
    /// This process and the new one could not talk.
    #[error("failed to start a process")]
    Pipe(#[source] io::Error),
    /// The namespaces were made, but not prepared.
    #[error("failed to {step} in the private namespaces: {advice}")]
    Setup {
        /// What was attempted.
        step: Step,
        /// What to do about it.
        advice: Advice,
        /// What the kernel said.
        source: io::Error,
    },
    /// No TUN device could be made inside.
    #[error(
        "/dev/net/tun cannot be opened: load the module (modprobe tun), run as root, or let this user read and write \
         the file"
    )]
    TunDevice(#[source] io::Error),
}

impl PrivateError {
    pub(super) fn of(failure: [u8; FAILURE_LEN], program: &Path) -> Self {
        let [step, errno @ ..] = failure;
        let source = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
        match Step::ALL.into_iter().find(|known| *known as u8 == step) {
            Some(Step::Exec) | None => Self::Exec { program: program.to_owned(), source },
            Some(step) => Self::Setup { step, advice: Advice::now(), source },
        }
    }
}

/// One step of preparing the namespaces, in the order they are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Tying its life to this process'.
    Lifetime = 1,
    /// Keeping mounts from spreading.
    PrivateMounts,
    /// A `/proc` of its own.
    Proc,
    /// An empty `/run`.
    Run,
    /// The loopback device.
    Loopback,
    /// Capabilities for the program.
    Capabilities,
    /// The process of the program.
    Fork,
    /// The program.
    Exec,
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Lifetime,
        Self::PrivateMounts,
        Self::Proc,
        Self::Run,
        Self::Loopback,
        Self::Capabilities,
        Self::Fork,
        Self::Exec,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lifetime => "tie the child to this process",
            Self::PrivateMounts => "make the mounts private",
            Self::Proc => "mount /proc",
            Self::Run => "mount an empty /run",
            Self::Loopback => "bring the loopback device up",
            Self::Capabilities => "keep capabilities for the program",
            Self::Fork => "start a process",
            Self::Exec => "run the program",
        })
    }
}

/// What stands in the way on this host, as far as its settings tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Advice {
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1.
    AppArmor,
    /// `user.max_user_namespaces` is 0.
    NoUserNamespaces,
    /// Nothing known; a container's system call filter, mostly.
    Unknown,
    /// `kernel.unprivileged_userns_clone` is 0.
    UnprivilegedForbidden,
}

impl Advice {
    /// Looks at the host's settings.
    pub(super) fn now() -> Self {
        let is = |setting: &str, value: &str| {
            fs::read_to_string(Path::new("/proc/sys").join(setting)).is_ok_and(|found| found.trim() == value)
        };
        if is("kernel/unprivileged_userns_clone", "0") {
            Self::UnprivilegedForbidden
        } else if is("user/max_user_namespaces", "0") {
            Self::NoUserNamespaces
        } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
            Self::AppArmor
        } else {
            Self::Unknown
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppArmor => {
                "this host's AppArmor restricts user namespaces; run as root, or set \
                 kernel.apparmor_restrict_unprivileged_userns=0"
            }
            Self::NoUserNamespaces => "user namespaces are off; run as root, or raise user.max_user_namespaces",
            Self::Unknown => {
                "run as root; in a container, add SYS_ADMIN and NET_ADMIN and relax its system call filter"
            }
            Self::UnprivilegedForbidden => {
                "user namespaces are for root only; run as root, or set kernel.unprivileged_userns_clone=1"
            }
        })
    }
}

/// Bytes of a reported failure: the step, then the error number in this machine's order.
pub(super) const FAILURE_LEN: usize = 5;
