//! The C library's functions for memory, as POSIX lets a program define them.

use std::ffi::c_void;

use super::arena::{Arena, UNIT, length};
use crate::lifeline::no_memory;

/// Address space of the piece, in bytes: what is never touched costs nothing.
const SPACE: usize = 1 << 32;

static ARENA: Arena = Arena::with_space(SPACE);

/// `malloc`, ISO C.
// SAFETY: it is what the C library's own is, by POSIX's leave to define it (2.2.2, "malloc").
#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    ARENA.take(size, UNIT).unwrap_or_else(|| no_memory())
}

/// `calloc`, ISO C.
// SAFETY: as `malloc`.
#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let size = count.checked_mul(size);
    size.and_then(|size| ARENA.take_zeroed(size)).unwrap_or_else(|| no_memory())
}

/// `realloc`, ISO C.
///
/// # Safety
/// `block` must be null or a block that was not freed.
// SAFETY: as `malloc`.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    let resized = if block.is_null() {
        ARENA.take(size, UNIT)
    } else {
        // SAFETY: the caller's promise.
        unsafe { ARENA.resize(block, size) }
    };
    resized.unwrap_or_else(|| no_memory())
}

/// `free`, ISO C.
///
/// # Safety
/// `block` must be null or a block that was not freed.
// SAFETY: as `malloc`.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    if !block.is_null() {
        // SAFETY: the caller's promise.
        unsafe { ARENA.give_back(block) };
    }
}

/// `aligned_alloc`, ISO C.
// SAFETY: as `malloc`.
#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    ARENA.take(size, align).unwrap_or_else(|| no_memory())
}

/// `posix_memalign`, POSIX.
///
/// # Safety
/// `to` must be valid for writing a pointer.
// SAFETY: as `malloc`.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(to: *mut *mut c_void, align: usize, size: usize) -> i32 {
    let block = ARENA.take(size, align).unwrap_or_else(|| no_memory());
    // SAFETY: the caller's promise.
    unsafe { to.write(block) };
    0
}

/// `malloc_usable_size`, of musl and others.
///
/// # Safety
/// `block` must be null or a block that was not freed.
// SAFETY: as `malloc`.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    // SAFETY: the caller's promise.
    if block.is_null() { 0 } else { unsafe { length(block) } }
}
