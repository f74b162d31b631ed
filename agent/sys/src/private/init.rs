//! The first process of the private namespaces.
//!
//! Runs between clone and exec in a copy of a process that may have had other threads: system calls only, no
//! allocation, no lock, no panic.
#![expect(unsafe_code, reason = "only plain system calls are allowed here")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::ptr;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::error::{FAILURE_LEN, Step};
use crate::capabilities::{self, Capability};

/// What is to run, in the form exec takes.
pub(super) struct Program {
    path: CString,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// Owns what the pointers above point to.
    _strings: [Vec<CString>; 2],
}

impl Program {
    pub(super) fn new(path: CString, arguments: Vec<CString>, environment: Vec<CString>) -> Self {
        let terminated = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect();
        Self {
            path,
            arguments: terminated(&arguments),
            environment: terminated(&environment),
            _strings: [arguments, environment],
        }
    }
}

/// Waits for `go`, prepares the namespaces, starts the program, and ends with its status.
///
/// A failed step is written to `report`, which closes when the program runs.
pub(super) fn run(program: &Program, go: &File, start: File, report: &File, with_users: bool) -> ! {
    let outcome = prepare(go, start, with_users).and_then(|()| {
        // SAFETY: like fork; the copy makes system calls only and ends in exec or exit.
        match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
            -1 => Err((Step::Fork, Errno::last())),
            0 => exec(program),
            child => Ok(child as libc::pid_t),
        }
    });
    match outcome {
        Ok(child) => attend(child, report),
        Err((step, errno)) => fail(report, step, errno),
    }
}

type Outcome<T> = Result<T, (Step, Errno)>;

fn prepare(go: &File, start: File, with_users: bool) -> Outcome<()> {
    default_signals();
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| (Step::Lifetime, errno))?;
    // Our copy of the other end, so that the read below ends if the parent does. Closed by hand: `File` may not be
    // dropped twice in two processes that share nothing but the number.
    let start = start.into_raw_fd();
    // SAFETY: the descriptor was just given up by its owner; the byte is ours.
    let read = unsafe {
        libc::close(start);
        let mut byte = 0_u8;
        libc::read(go.as_raw_fd(), (&raw mut byte).cast(), 1)
    };
    if read != 1 {
        return Err((Step::Lifetime, Errno::ESRCH));
    }
    private_mounts()?;
    loopback_up().map_err(|errno| (Step::Loopback, errno))?;
    if with_users {
        let kept = [Capability::NetAdmin, Capability::NetRaw, Capability::SysAdmin];
        capabilities::keep_across_exec(&kept).map_err(|errno| (Step::Capabilities, errno))?;
    }
    Ok(())
}

/// Handlers of the parent's runtime must not run here, nor what it ignores be ignored by the program.
fn default_signals() {
    for number in 1..=MAX_SIGNAL {
        // SAFETY: by value only; numbers that cannot be changed are refused.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

fn private_mounts() -> Outcome<()> {
    let none = None::<&CStr>;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(none, c"/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(|e| (Step::PrivateMounts, e))?;
    match mount(Some(c"proc"), c"/proc", Some(c"proc"), safe | MsFlags::MS_NOEXEC, none) {
        // A container that hides parts of /proc forbids a fresh one in a user namespace. The old one serves: it shows
        // every process inside by its number outside.
        Err(Errno::EPERM) => Ok(()),
        mounted => mounted.map_err(|errno| (Step::Proc, errno)),
    }?;
    match mount(Some(c"tmpfs"), c"/run", Some(c"tmpfs"), safe, Some(c"mode=0755,size=64m")) {
        // No /run, nothing to hide.
        Err(Errno::ENOENT) => Ok(()),
        mounted => mounted.map_err(|errno| (Step::Run, errno)),
    }
}

fn loopback_up() -> Result<(), Errno> {
    // SAFETY: by value only.
    let socket = Errno::result(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: an ifreq is integers, arrays of them and null pointers; all zero is a value of each.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_LOOPBACK) as libc::c_short;
    // SAFETY: the request points to a whole ifreq, alive and ours alone for the call.
    let outcome = Errno::result(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) });
    // SAFETY: opened above, known to nobody else.
    unsafe { libc::close(socket) };
    outcome.map(|_| ())
}

fn exec(program: &Program) -> Outcome<libc::pid_t> {
    // SAFETY: both sets are ours and initialised before use; the arrays end in null and their strings live in the
    // program.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::execve(program.path.as_ptr(), program.arguments.as_ptr(), program.environment.as_ptr());
    }
    Err((Step::Exec, Errno::last()))
}

/// Collects orphans and passes SIGTERM on until the program ends, then ends with its status and all others with it.
fn attend(program: libc::pid_t, report: &File) -> ! {
    // The report's end tells the parent that the program runs. The other descriptors are copies of the parent's, which
    // would keep its sockets and pipes open; a kernel before 5.9 leaves them so.
    // SAFETY: nothing here uses a descriptor any more.
    unsafe {
        libc::close(report.as_raw_fd());
        libc::syscall(libc::SYS_close_range, FIRST_OTHER_FD, libc::c_uint::MAX, 0);
    }
    // Every signal is blocked since before the clone, so none is lost between two waits.
    // SAFETY: the set is ours and initialised before use.
    let waited_for = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        set
    };
    loop {
        // SAFETY: the set is initialised; no details are asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const waited_for, ptr::null_mut()) };
        if signal == libc::SIGTERM {
            // SAFETY: by value only; the program is a child not waited for yet.
            unsafe { libc::kill(program, libc::SIGTERM) };
            continue;
        }
        if let Some(status) = collect(program) {
            // SAFETY: ends this process, and with it the namespace.
            unsafe { libc::_exit(exit_code(status)) };
        }
    }
}

/// Collects the processes that have ended; returns the program's status if it is among them.
fn collect(program: libc::pid_t) -> Option<c_int> {
    loop {
        let mut status = 0;
        // SAFETY: the status is ours.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if ended == program {
            return Some(status);
        }
        if ended <= 0 {
            return None;
        }
    }
}

fn exit_code(status: c_int) -> c_int {
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

fn fail(report: &File, step: Step, errno: Errno) -> ! {
    let [a, b, c, d] = (errno as i32).to_ne_bytes();
    let failure: [u8; FAILURE_LEN] = [step as u8, a, b, c, d];
    // SAFETY: the bytes are ours; the process ends here.
    unsafe {
        libc::write(report.as_raw_fd(), failure.as_ptr().cast(), failure.len());
        libc::_exit(127)
    }
}

/// The kernel's `_NSIG`, which is more than the C library admits to.
const MAX_SIGNAL: c_int = 64;
const FIRST_OTHER_FD: libc::c_uint = 3;
