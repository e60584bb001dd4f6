//! Blocks in the two halves of one piece of memory, one behind the other in each.

use std::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Length that no block has, in bytes.
const LIMIT: usize = 1 << 32;
/// Address space where `RLIMIT_AS` allows no more, in bytes: the databases need some, too.
const LESS_SPACE: usize = 1 << 26;
/// Least address space that is tried, in bytes.
const LEAST_SPACE: usize = 1 << 20;
/// Bytes that are populated at once, rather than page by page: what the small blocks of an ADD take.
const AT_ONCE: usize = 112 << 10;
/// Smallest block that is taken from the second half of the piece, in bytes. LMDB asks for two lists, 3 MiB
/// together, and uses the first page of each. Among the small blocks, the lists would push these out of the
/// populated pages.
const LARGE: usize = 64 << 10;
/// Blocks begin at multiples of this, `max_align_t`'s alignment, and have a header of this size that
/// holds their length.
pub(super) const UNIT: usize = 16;

/// A piece of memory, mapped when the first block is taken and kept until the process ends. One half is
/// for small blocks, the other for large ones. A half that is full takes from the other.
pub(super) struct Arena {
    /// Address space that is asked for first, in bytes.
    space: usize,
    small: Half,
    large: Half,
}

/// Half of the piece, where blocks lie one behind the other.
///
/// Addresses are kept as numbers: what several threads take and give back is agreed on by one atomic
/// exchange of [`Self::next`].
struct Half {
    /// The first byte; 0: there is no piece yet.
    start: AtomicUsize,
    /// The end.
    end: AtomicUsize,
    /// Where the next block begins.
    next: AtomicUsize,
    /// Where memory begins that no block has used: it is zero.
    unused: AtomicUsize,
}

impl Arena {
    /// An arena that will ask for `space` bytes of address space, and for less where the kernel gives no
    /// more; at least 1 MiB.
    pub(super) const fn with_space(space: usize) -> Self {
        Self { space, small: Half::new(), large: Half::new() }
    }

    /// Maps the piece unless there is one. Where the kernel gives none, no half has room.
    fn ensure_mapped(&self) {
        if self.small.start.load(Ordering::Acquire) == 0 {
            self.map();
        }
    }

    fn map(&self) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let mut space = self.space;
        let piece = loop {
            // SAFETY: a new anonymous mapping, at an address of the kernel's choice, touches nothing else.
            let piece = unsafe { libc::mmap(ptr::null_mut(), space, access, flags, -1, 0) };
            if piece != libc::MAP_FAILED {
                break piece;
            }
            if space <= LEAST_SPACE {
                return;
            }
            space = LESS_SPACE.min(space / 2);
        };
        // SAFETY: the range is of the mapping above. That the advice is not known is no harm.
        unsafe { libc::madvise(piece, AT_ONCE, libc::MADV_POPULATE_WRITE) };
        // Before there is a second thread: the first block is asked for before `main`.
        let start = piece as usize;
        let middle = start + space / 2;
        self.large.use_range(middle, start + space);
        // The small half last: its start says that both are there.
        self.small.use_range(start, middle);
    }

    /// A block of `size` bytes at a multiple of `align`, a power of two, with its length in front of it.
    /// None where neither half has room for it, or there is no piece.
    ///
    /// The bytes are what former blocks left there.
    pub(super) fn take(&self, size: usize, align: usize) -> Option<*mut c_void> {
        self.ensure_mapped();
        self.halves_for(size).into_iter().find_map(|half| half.take(size, align))
    }

    /// The same, with all bytes zero.
    pub(super) fn take_zeroed(&self, size: usize) -> Option<*mut c_void> {
        self.ensure_mapped();
        self.halves_for(size).into_iter().find_map(|half| half.take_zeroed(size))
    }

    /// A block of at least `size` bytes with the contents of `block`, which is given back unless it is
    /// the same. The last block of a half grows in place, beyond [`LARGE`] as well. None where there is
    /// no room; `block` is as it was then.
    ///
    /// # Safety
    /// `block` must be one of [`Self::take`]'s that was not given back.
    pub(super) unsafe fn resize(&self, block: *mut c_void, size: usize) -> Option<*mut c_void> {
        // SAFETY: the caller's promise.
        let old = unsafe { length(block) };
        let new = rounded(size)?;
        if new <= old {
            return Some(block);
        }
        let start = block as usize;
        if self.half_of(block).move_end(start + old, start + new) {
            // SAFETY: the block is this caller's, and so is its header.
            unsafe { header(block).write(new) };
            return Some(block);
        }
        let moved = self.take(size, UNIT)?;
        // SAFETY: two blocks that do not overlap, both `old` bytes long or longer.
        unsafe { ptr::copy_nonoverlapping(block.cast::<u8>(), moved.cast::<u8>(), old) };
        Some(moved)
    }

    /// Gives a block back. Its memory is used again if it is the last one of its half.
    ///
    /// # Safety
    /// `block` must be one of [`Self::take`]'s that was not given back.
    pub(super) unsafe fn give_back(&self, block: *mut c_void) {
        // SAFETY: the caller's promise.
        let end = block as usize + unsafe { length(block) };
        self.half_of(block).move_end(end, header(block) as usize);
    }

    /// Where a block of `size` bytes is taken from: the half for its size first.
    const fn halves_for(&self, size: usize) -> [&Half; 2] {
        if size < LARGE { [&self.small, &self.large] } else { [&self.large, &self.small] }
    }

    /// Where a block is. Its header tells: an empty block may end where the other half begins.
    fn half_of(&self, block: *mut c_void) -> &Half {
        let is_large = header(block) as usize >= self.large.start.load(Ordering::Relaxed);
        if is_large { &self.large } else { &self.small }
    }
}

impl Half {
    const fn new() -> Self {
        Self {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            unused: AtomicUsize::new(0),
        }
    }

    /// Begins to take blocks from these addresses, which are of a new mapping.
    fn use_range(&self, start: usize, end: usize) {
        self.next.store(start, Ordering::Relaxed);
        self.unused.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.start.store(start, Ordering::Release);
    }

    fn take(&self, size: usize, align: usize) -> Option<*mut c_void> {
        let align = align.max(UNIT);
        let length = rounded(size)?;
        let limit = self.end.load(Ordering::Relaxed);
        let mut from = self.next.load(Ordering::Relaxed);
        loop {
            let block = (from + UNIT).checked_next_multiple_of(align)?;
            let end = block.checked_add(length).filter(|end| *end <= limit)?;
            match self.next.compare_exchange_weak(from, end, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    // SAFETY: the header lies between `from` and `block`, which are this call's alone
                    // since the exchange, inside the mapping, and a multiple of 16.
                    unsafe { header(block as *mut c_void).write(length) };
                    return Some(block as *mut c_void);
                }
                Err(other) => from = other,
            }
        }
    }

    fn take_zeroed(&self, size: usize) -> Option<*mut c_void> {
        let block = self.take(size, UNIT)?;
        let used = self.unused.load(Ordering::Acquire).saturating_sub(block as usize).min(size);
        if used > 0 {
            // SAFETY: the block is `size` bytes long or longer.
            unsafe { ptr::write_bytes(block.cast::<u8>(), 0, used) };
        }
        Some(block)
    }

    /// Whether the last block ended at `old`; its memory ends at `new` now.
    fn move_end(&self, old: usize, new: usize) -> bool {
        // Used memory may be handed out again, and is not zero then.
        self.unused.fetch_max(old, Ordering::AcqRel);
        new <= self.end.load(Ordering::Acquire)
            && self.next.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// A length as blocks have it; none where no piece could hold it.
fn rounded(size: usize) -> Option<usize> {
    size.checked_next_multiple_of(UNIT).filter(|length| *length < LIMIT)
}

/// Length of a block, as it was rounded up.
///
/// # Safety
/// `block` must be one of [`Arena::take`]'s.
pub(super) unsafe fn length(block: *mut c_void) -> usize {
    // SAFETY: `take` wrote it there.
    unsafe { header(block).read() }
}

/// Where the length of a block is.
fn header(block: *mut c_void) -> *mut usize {
    // Never before the piece: `take` leaves room in front of each block.
    block.wrapping_byte_sub(UNIT).cast()
}

#[cfg(test)]
mod tests;
