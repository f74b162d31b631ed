use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime watch a descriptor, which must be non-blocking.
#[expect(
    deprecated,
    reason = "the successor is unsafe code, for types that change their descriptor; those here never do"
)]
pub(super) fn watch<T: AsRawFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(inner, interest)
}

/// Receives from it once there is something.
pub(super) async fn read<T: AsRawFd, R>(from: &AsyncFd<T>, receive: impl Fn(&T) -> io::Result<R>) -> io::Result<R> {
    loop {
        let mut guard = from.readable().await?;
        if let Ok(received) = guard.try_io(|from| receive(from.get_ref())) {
            return received;
        }
    }
}
