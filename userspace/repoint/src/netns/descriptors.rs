//! Keeping descriptors from programs that this process executes.

use std::{
    io,
    os::fd::{AsRawFd as _, RawFd},
};

/// `CLOSE_RANGE_CLOEXEC`, `include/uapi/linux/close_range.h`.
///
/// # Minimum kernel version
/// 5.11.
const CLOEXEC: libc::c_uint = 1 << 2;

/// Closes all but the standard descriptors in programs that this process executes. This holds from now
/// on. LMDB opens its data file without `O_CLOEXEC`, as callers might want to hand it on (`mdb_fopen`).
pub fn keep_to_this_process() -> io::Result<()> {
    let first: RawFd = io::stderr().as_raw_fd() + 1;
    // SAFETY: close_range(2) with this flag closes nothing, and reads and writes no memory of ours.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
