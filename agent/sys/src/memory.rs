//! The allocator's habits.
#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "no safe crate sets the options of glibc's allocator"))]

/// Has freed memory kept for the next buffer of its size instead of given back at once; for the start, before there are
/// threads.
///
/// A node that carries packets in streams or requests allocates and frees buffers of some 64 KiB thousands of times a second.
/// glibc gives memory back to the kernel as soon as 128 KiB are free at the end of an arena, and then gets it anew page
/// by page: 20,000 page faults a second at 2 Gbit/s. It keeps 768 KiB now, and all threads share one arena instead of up to
/// eight per processor, so that it is not kept many times over; what is small comes from caches of the threads. Other C
/// libraries are left alone.
pub fn keep_freed() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [(libc::M_ARENA_MAX, ARENAS), (libc::M_MMAP_THRESHOLD, KEPT), (libc::M_TRIM_THRESHOLD, KEPT)]
    {
        // SAFETY: mallopt takes any number; what it refuses changes nothing.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Bytes at the end of an arena that are kept, and size from which a buffer is mapped by itself.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 768 << 10;

#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 1;
