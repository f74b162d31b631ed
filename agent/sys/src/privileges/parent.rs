//! The signal a process gets when its parent ends, which the kernel forgets when the process becomes another user.

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::getppid;

use super::PrivilegeError;

/// Makes a change of user, and then asks again for the signal that was asked for before.
pub(super) fn keep_bound(change: impl FnOnce() -> Result<(), PrivilegeError>) -> Result<(), PrivilegeError> {
    let failed = |error: Errno| PrivilegeError::Parent(error.into());
    let (signal, parent) = (prctl::get_pdeathsig().map_err(failed)?, getppid());
    change()?;
    let Some(signal) = signal else { return Ok(()) };
    prctl::set_pdeathsig(signal).map_err(failed)?;
    // It may have ended in between.
    if getppid() == parent { Ok(()) } else { Err(failed(Errno::ESRCH)) }
}
