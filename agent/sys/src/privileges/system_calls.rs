//! seccomp: which system calls the process may still make.
//!
//! An allowlist; what is not on it fails with `EPERM` rather than ending the process, so that a library which probes
//! for a feature falls back. Not on it, on purpose: execve, fork, ptrace, mount, setns, unshare, bpf, io_uring, keyctl,
//! modules, personality, changes of user, and every call that alters a file by its name.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// Applies the filters to the calling thread and every thread it will start; returns the number of allowed calls.
pub(super) fn restrict() -> Result<usize, Error> {
    let allowed = allowed().map_err(Error::from)?;
    let count = allowed.len();
    let without_clone3 = compile([(libc::SYS_clone3, Vec::new())].into(), SeccompAction::Allow, NO_SUCH_CALL)?;
    let allowlist = compile(allowed, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)?;
    apply_filter(&without_clone3)?;
    apply_filter(&allowlist)?;
    Ok(count)
}

/// The flags of clone3 are behind a pointer no filter can follow. Told that the call does not exist, the C library uses
/// clone, whose flags can be seen. A filter of its own, because one filter has one answer for what it matches; of two
/// filters the sterner answer counts.
const NO_SUCH_CALL: SeccompAction = SeccompAction::Errno(libc::ENOSYS as u32);

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn compile(rules: Rules, mismatch: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, mismatch, matched, architecture)?.try_into()?)
}

fn allowed() -> Result<Rules, BackendError> {
    let mut rules: Rules = PLAIN.iter().chain(OF_THIS_ARCHITECTURE).map(|call| (*call, Vec::new())).collect();
    // Threads of this process, and no new namespace.
    rules.insert(libc::SYS_clone, vec![masked(0, THREAD | NEW_NAMESPACE, THREAD)?]);
    // A request is an unsigned 32-bit number to the kernel, whatever type the C library gives it.
    let requests: Vec<u64> = IOCTLS.iter().map(|request| u64::from(*request as u32)).collect();
    rules.insert(libc::SYS_ioctl, any_of(1, &requests)?);
    rules.insert(libc::SYS_openat, vec![masked(2, WRITING, 0)?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, vec![masked(1, WRITING, 0)?]);
    rules.insert(libc::SYS_prctl, any_of(0, PRCTLS)?);
    // Its own limits; raising them needs a capability.
    rules.insert(libc::SYS_prlimit64, any_of(0, &[0])?);
    let mut sockets = any_of(0, &[libc::AF_INET as u64, libc::AF_INET6 as u64, libc::AF_UNIX as u64])?;
    // Name resolution asks for the host's addresses.
    sockets.push(SeccompRule::new(vec![equal(0, libc::AF_NETLINK as u64)?, equal(2, libc::NETLINK_ROUTE as u64)?])?);
    rules.insert(libc::SYS_socket, sockets);
    rules.insert(libc::SYS_socketpair, any_of(0, &[libc::AF_UNIX as u64])?);
    Ok(rules)
}

fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| SeccompRule::new(vec![equal(argument, *value)?])).collect()
}

/// The kernel takes these arguments as 32-bit numbers, so the upper half of the register does not count.
fn equal(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)?;
    SeccompRule::new(vec![condition])
}

const THREAD: u64 = libc::CLONE_THREAD as u64;
const NEW_NAMESPACE: u64 = (libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS) as u64;

/// Open flags of a file that may be altered. `O_TMPFILE` needs one of the first two.
const WRITING: u64 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u64;

/// Requests of sockets and terminals, and those of the packet path on a TUN device that is already ours.
const IOCTLS: &[libc::Ioctl] = &[
    libc::FIOCLEX,
    libc::FIONBIO,
    libc::FIONREAD,
    libc::SIOCGIFINDEX,
    libc::SIOCGIFMTU,
    libc::SIOCGIFNAME,
    libc::TCGETS,
    libc::TIOCGWINSZ,
    libc::TUNGETIFF,
    libc::TUNGETVNETHDRSZ,
    libc::TUNSETOFFLOAD,
    libc::TUNSETQUEUE,
    libc::TUNSETVNETHDRSZ,
];

/// Names of threads and of their memory.
const PRCTLS: &[u64] = &[libc::PR_GET_NAME as u64, libc::PR_SET_NAME as u64, libc::PR_SET_VMA as u64];

/// Allowed whatever the arguments.
const PLAIN: &[c_long] = &[
    // Threads and waiting
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone3, // answered by the other filter
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_gettimeofday,
    libc::SYS_membarrier,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Memory
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munlock,
    libc::SYS_munmap,
    // Who and where
    libc::SYS_getcwd,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Signals; tgkill is how a thread aborts
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_tgkill,
    // Descriptors. A packet thread waits for its queue and its socket in ppoll, and moves packets with readv and writev
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_fcntl,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pselect6,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    libc::SYS_write,
    libc::SYS_writev,
    // Reading files, and learning that they changed
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_statfs,
    libc::SYS_statx,
    // Sockets. Of UDP a packet thread moves many datagrams at once, with sendmsg (UDP_SEGMENT), sendmmsg and recvmmsg
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];

/// Older forms of the above, which newer architectures never had.
#[cfg(target_arch = "x86_64")]
const OF_THIS_ARCHITECTURE: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getdents,
    libc::SYS_inotify_init,
    libc::SYS_lstat,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OF_THIS_ARCHITECTURE: &[c_long] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_leave_out_what_they_must() {
        let rules = allowed().unwrap();

        for forbidden in [libc::SYS_execve, libc::SYS_ptrace, libc::SYS_setns, libc::SYS_bpf, libc::SYS_io_uring_setup]
        {
            assert!(!rules.contains_key(&forbidden), "{forbidden}");
        }
        #[cfg(target_arch = "x86_64")]
        for forbidden in [libc::SYS_fork, libc::SYS_vfork, libc::SYS_creat] {
            assert!(!rules.contains_key(&forbidden), "{forbidden}");
        }
        let program = compile(rules, SeccompAction::Errno(1), SeccompAction::Allow).unwrap();
        assert!(program.len() < 4096, "{} instructions", program.len());
    }
}
