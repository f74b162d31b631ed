//! The capability sets of the calling thread.
//!
//! Every function is one or a few system calls without allocation, so that all may run between fork and exec.
#![expect(unsafe_code, reason = "capset and capget have no wrapper in the C library")]

use nix::errno::Errno;

/// A capability by its number in `linux/capability.h`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Capability {
    NetAdmin = 12,
    NetRaw = 13,
    SetGid = 6,
    SetUid = 7,
    SysAdmin = 21,
}

/// Whether the capability is effective.
pub(crate) fn has(capability: Capability) -> bool {
    read().is_ok_and(|sets| sets.effective & (1 << capability as u64) != 0)
}

/// Removes every capability from the bounding set; `EPERM` without `CAP_SETPCAP`.
pub(crate) fn clear_bounding() -> Result<(), Errno> {
    for number in 0..=MAX_NUMBER {
        // SAFETY: by value only.
        let held = unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) };
        if held == 1 {
            // SAFETY: by value only.
            Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) })?;
        }
    }
    Ok(())
}

/// Removes every capability from the ambient, permitted, effective and inheritable sets.
pub(crate) fn clear() -> Result<(), Errno> {
    // SAFETY: by value only.
    Errno::result(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) })?;
    write(Sets::default())
}

/// Makes permitted capabilities survive the exec of a program by a user who is not root.
pub(crate) fn keep_across_exec(capabilities: &[Capability]) -> Result<(), Errno> {
    let mut sets = read()?;
    for capability in capabilities {
        sets.inheritable |= 1 << *capability as u64;
    }
    write(sets)?;
    for &capability in capabilities {
        let number = capability as libc::c_ulong;
        // SAFETY: by value only.
        Errno::result(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0) })?;
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

fn read() -> Result<Sets, Errno> {
    let header = Header { version: VERSION_3, pid: 0 };
    let mut words = [Words::default(); 2];
    // SAFETY: version 3 of the call reads the header and writes two entries; both are ours for the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw const header, words.as_mut_ptr()) })?;
    let join = |part: fn(&Words) -> u32| u64::from(part(&words[0])) | u64::from(part(&words[1])) << 32;
    Ok(Sets {
        effective: join(|words| words.effective),
        permitted: join(|words| words.permitted),
        inheritable: join(|words| words.inheritable),
    })
}

fn write(sets: Sets) -> Result<(), Errno> {
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Words {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let words = [half(0), half(32)];
    // SAFETY: version 3 of the call reads the header and two entries; both live for the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) })?;
    Ok(())
}

/// `struct __user_cap_header_struct`; process 0 is the calling thread.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`: 32 capabilities of each set, so a thread has two of these.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Words {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION_3: u32 = 0x2008_0522;
/// The sets have 64 bits; a number the kernel does not know reads as an error, which is not "held".
const MAX_NUMBER: libc::c_ulong = 63;
