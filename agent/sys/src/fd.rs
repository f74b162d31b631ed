//! Descriptors a parent process left open for this one.
#![expect(unsafe_code, reason = "a descriptor known by its number only can be borrowed in no other way")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Takes over descriptor `number`, left open across exec by the parent process.
///
/// Returns a duplicate that closes on exec and marks the original so too; the original stays open, for whoever in this
/// process may own the number. Errors: `EBADF` when the number is not open, `EINVAL` for the three standard ones.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(Errno::EINVAL.into());
    }
    // SAFETY: the number is not negative, and the borrow ends with this function, which closes nothing. Should the
    // descriptor be closed or reused meanwhile, the calls below fail or duplicate what is there now; both are sound.
    let original = unsafe { BorrowedFd::borrow_raw(number) };
    let duplicate = original.try_clone_to_owned()?;
    fcntl(original, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    debug_assert_ne!(duplicate.as_raw_fd(), number, "a duplicate has a number of its own");
    Ok(duplicate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_descriptor_is_duplicated_and_closes_on_exec() {
        let (reader, _writer) = nix::unistd::pipe().unwrap();

        let taken = inherited(reader.as_raw_fd()).unwrap();

        for fd in [&reader, &taken] {
            let flags = FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
        }
    }

    #[test]
    fn a_closed_number_and_the_standard_three_are_refused() {
        assert_eq!(inherited(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(inherited(0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(inherited(-1).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
