//! Memory of a process that lives for a millisecond: it is taken from one piece, and given back
//! when the process ends.
//!
//! musl's allocator asks the kernel for each group of blocks of a size anew, and gives them back:
//! 35 system calls and as many page faults in one ADD. These functions take its place for Rust and
//! for LMDB alike, as POSIX allows. A block that is freed or grown while it is the last one is
//! reused; any other is left until the end.

use std::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::lifeline::no_memory;

/// Address space of the piece, in bytes: what is never touched costs nothing.
const SPACE: usize = 1 << 32;
/// The same where `RLIMIT_AS` allows no more: the databases need some, too.
const LESS_SPACE: usize = 1 << 26;
/// Least address space that is tried, in bytes.
const LEAST_SPACE: usize = 1 << 20;
/// Bytes that are populated at once, rather than page by page: what an ADD takes.
const AT_ONCE: usize = 160 << 10;
/// Blocks begin at multiples of this, `max_align_t`'s alignment, and have a header of this size that
/// holds their length.
const UNIT: usize = 16;

/// The piece's first byte; 0: there is none yet.
static START: AtomicUsize = AtomicUsize::new(0);
/// The piece's end.
static END: AtomicUsize = AtomicUsize::new(0);
/// Where the next block begins.
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// Where memory begins that no block has used: it is zero.
static UNUSED: AtomicUsize = AtomicUsize::new(0);

/// The piece's first byte, or null where the kernel gives none.
fn start() -> usize {
    match START.load(Ordering::Acquire) {
        0 => map(),
        start => start,
    }
}

fn map() -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let mut space = SPACE;
    let piece = loop {
        // SAFETY: a new anonymous mapping, at an address of the kernel's choice, touches nothing else.
        let piece = unsafe { libc::mmap(ptr::null_mut(), space, access, flags, -1, 0) };
        if piece != libc::MAP_FAILED {
            break piece;
        }
        if space <= LEAST_SPACE {
            return 0;
        }
        space = LESS_SPACE.min(space / 2);
    };
    // Before there is a second thread: the first block is asked for before `main`.
    // SAFETY: the range is of the mapping above. That the advice is not known is no harm.
    unsafe { libc::madvise(piece, AT_ONCE, libc::MADV_POPULATE_WRITE) };
    let start = piece as usize;
    NEXT.store(start, Ordering::Relaxed);
    UNUSED.store(start, Ordering::Relaxed);
    END.store(start + space, Ordering::Relaxed);
    START.store(start, Ordering::Release);
    start
}

/// A block of `size` bytes at a multiple of `align`, with its length in front of it.
fn take(size: usize, align: usize) -> *mut c_void {
    let start = start();
    let align = align.max(UNIT);
    let Some(length) = size.checked_next_multiple_of(UNIT).filter(|length| *length < SPACE) else {
        no_memory();
    };
    if start == 0 {
        no_memory();
    }
    let limit = END.load(Ordering::Relaxed);
    let mut from = NEXT.load(Ordering::Relaxed);
    loop {
        let block = (from + UNIT).next_multiple_of(align);
        let end = block + length;
        if end > limit {
            no_memory();
        }
        match NEXT.compare_exchange_weak(from, end, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => {
                // SAFETY: the header lies between `from` and `block`, which are this call's alone
                // since the exchange, inside the mapping, and a multiple of 16.
                unsafe { header(block as *mut c_void).write(length) };
                return block as *mut c_void;
            }
            Err(other) => from = other,
        }
    }
}

/// Length of a block, as it was rounded up.
///
/// # Safety
/// `block` must be one of [`take`]'s.
unsafe fn length(block: *mut c_void) -> usize {
    // SAFETY: `take` wrote it there.
    unsafe { header(block).read() }
}

/// Where the length of a block is.
fn header(block: *mut c_void) -> *mut usize {
    // Never before the piece: `take` leaves room in front of each block.
    block.wrapping_byte_sub(UNIT).cast()
}

/// Whether a block of `old` bytes was the last, and is one of `new` bytes now; 0: it is gone.
fn move_end(block: *mut c_void, old: usize, new: usize) -> bool {
    let block = block as usize;
    // Used memory may be handed out again, and is not zero then.
    UNUSED.fetch_max(block + old, Ordering::AcqRel);
    let limit = END.load(Ordering::Acquire);
    block + new <= limit
        && NEXT
            .compare_exchange(block + old, block + new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
}

/// `malloc`, ISO C.
// SAFETY: it is what the C library's own is, by POSIX's leave to define it (2.2.2, "malloc").
#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    take(size, UNIT)
}

/// `calloc`, ISO C.
// SAFETY: as `malloc`.
#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let Some(size) = count.checked_mul(size) else {
        no_memory();
    };
    let block = take(size, UNIT);
    let used = UNUSED.load(Ordering::Acquire).saturating_sub(block as usize).min(size);
    if used > 0 {
        // SAFETY: the block is `size` bytes long or longer.
        unsafe { ptr::write_bytes(block.cast::<u8>(), 0, used) };
    }
    block
}

/// `realloc`, ISO C.
///
/// # Safety
/// `block` must be null or a block that was not freed.
// SAFETY: as `malloc`.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    if block.is_null() {
        return take(size, UNIT);
    }
    // SAFETY: the caller's promise.
    let old = unsafe { length(block) };
    let Some(new) = size.checked_next_multiple_of(UNIT).filter(|new| *new < SPACE) else {
        no_memory();
    };
    if new <= old {
        return block;
    }
    if move_end(block, old, new) {
        // SAFETY: the block is this caller's, and so is its header.
        unsafe { header(block).write(new) };
        return block;
    }
    let moved = take(size, UNIT);
    // SAFETY: two blocks that do not overlap, both `old` bytes long or longer.
    unsafe { ptr::copy_nonoverlapping(block.cast::<u8>(), moved.cast::<u8>(), old) };
    moved
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
        let old = unsafe { length(block) };
        move_end(block, old, 0);
    }
}

/// `aligned_alloc`, ISO C.
// SAFETY: as `malloc`.
#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    take(size, align)
}

/// `posix_memalign`, POSIX.
///
/// # Safety
/// `to` must be valid for writing a pointer.
// SAFETY: as `malloc`.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(to: *mut *mut c_void, align: usize, size: usize) -> i32 {
    let block = take(size, align);
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
