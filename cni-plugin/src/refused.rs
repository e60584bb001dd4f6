//! Memory of the system's C library, with an error in the protocol's form where it gives none: the standard
//! library would end the process without an answer. `memory` does it with musl.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::lifeline::no_memory;

/// The system's memory.
struct Memory;

#[global_allocator]
static MEMORY: Memory = Memory;

/// A block, or the end of the process.
fn given(block: *mut u8) -> *mut u8 {
    if block.is_null() { no_memory() } else { block }
}

// SAFETY: the system's own allocator does all of it.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        given(unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) };
    }
}
