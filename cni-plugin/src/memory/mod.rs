//! Memory of a process that lives for a millisecond: it is taken from one piece ([`arena`]), and given
//! back when the process ends.
//!
//! musl's allocator asks the kernel for each group of blocks of a size anew, and gives them back:
//! 35 system calls and as many page faults in one ADD. These functions take its place for Rust and
//! for LMDB alike, as POSIX allows. A block that is freed or grown while it is the last one of its half of
//! the piece is reused; any other is left until the end. Where there is no memory, the process ends with a CNI error.

mod arena;

#[cfg(not(test))]
mod posix;
