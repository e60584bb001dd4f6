//! Blocks are aligned, apart from each other, keep their bytes, and end in "none" where there is no room.
//! `cargo xtask test` runs these tests under valgrind as well.

use std::{ffi::c_void, slice, thread};

use super::{Arena, LARGE, LEAST_SPACE, UNIT, length};

/// Address space of an arena that is not to be full, in bytes. valgrind keeps a record of every byte of it.
const ROOM: usize = 8 << 20;

/// Pseudo-random numbers (xorshift64*): the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }
}

/// A block that is in use, all bytes of which are `pattern`.
struct Block {
    start: *mut c_void,
    size: usize,
    pattern: u8,
}

impl Block {
    fn filled(start: *mut c_void, size: usize, pattern: u8) -> Self {
        // SAFETY: the arena gave the block out with this size.
        unsafe { start.cast::<u8>().write_bytes(pattern, size) };
        Self { start, size, pattern }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the block is in use, and its bytes are written.
        unsafe { slice::from_raw_parts(self.start.cast::<u8>(), self.size) }
    }

    fn assert_untouched(&self) {
        assert!(self.bytes().iter().all(|byte| *byte == self.pattern), "{} bytes", self.size);
        // SAFETY: the block is in use.
        assert!(unsafe { length(self.start) } >= self.size, "its header");
    }
}

/// Takes, resizes and gives back blocks at random, until `steps` are done or the arena is full.
fn use_at_random(arena: &Arena, seed: u64, steps: usize) {
    let mut numbers = Numbers(seed);
    let mut blocks: Vec<Block> = Vec::new();
    for step in 0..steps {
        let pattern = u8::try_from(step % 255).unwrap() + 1;
        let size = numbers.below(400) + if step % 256 == 0 { LARGE } else { 0 };
        match numbers.below(6) {
            0 | 1 if !blocks.is_empty() => {
                let last = blocks.len() - 1;
                // Often the last one, whose memory is used again.
                let which = if numbers.below(2) == 0 { last } else { numbers.below(blocks.len()) };
                let block = blocks.swap_remove(which);
                block.assert_untouched();
                // SAFETY: the block is in use, and forgotten here.
                unsafe { arena.give_back(block.start) };
            }
            2 if !blocks.is_empty() => {
                let which = numbers.below(blocks.len());
                let block = &mut blocks[which];
                let kept = block.size.min(size);
                // SAFETY: the block is in use, and replaced by what it becomes.
                let Some(resized) = (unsafe { arena.resize(block.start, size) }) else {
                    block.assert_untouched();
                    continue;
                };
                *block = Block { start: resized, size: kept, pattern: block.pattern };
                block.assert_untouched();
                *block = Block::filled(resized, size, pattern);
            }
            3 => {
                let Some(start) = arena.take_zeroed(size) else { break };
                let block = Block { start, size, pattern: 0 };
                block.assert_untouched();
                blocks.push(Block::filled(start, size, pattern));
            }
            _ => {
                let align = 1 << numbers.below(9);
                let Some(start) = arena.take(size, align) else { break };
                assert_eq!(start as usize % align.max(UNIT), 0, "alignment {align}");
                blocks.push(Block::filled(start, size, pattern));
            }
        }
    }
    blocks.iter().for_each(Block::assert_untouched);
    let mut ranges: Vec<_> = blocks
        .iter()
        .map(|block| (block.start as usize - UNIT, block.start as usize + block.size))
        .collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|two| two[0].1 <= two[1].0), "blocks overlap");
}

#[test]
fn blocks_keep_their_bytes_and_lie_apart() {
    for seed in 1..=20 {
        use_at_random(&Arena::with_space(ROOM), seed, 3_000);
    }
}

#[test]
fn blocks_of_several_threads_lie_apart() {
    let arena = Arena::with_space(ROOM);
    // As in the plugin, the first block is taken before there is a second thread.
    assert!(arena.take(1, 1).is_some());
    thread::scope(|scope| {
        for seed in 1..=4 {
            let arena = &arena;
            scope.spawn(move || use_at_random(arena, seed, 3_000));
        }
    });
}

#[test]
fn a_full_arena_gives_none_and_leaves_blocks_as_they_are() {
    let arena = Arena::with_space(LEAST_SPACE);
    use_at_random(&arena, 1, 1_000_000);
    while arena.take(1, 1).is_some() {}
    let arena = Arena::with_space(LEAST_SPACE);
    let block = Block::filled(arena.take(64, UNIT).unwrap(), 64, 7);
    assert!(arena.take(LEAST_SPACE, UNIT).is_none(), "larger than the piece");
    // SAFETY: the block is in use.
    assert!(unsafe { arena.resize(block.start, LEAST_SPACE) }.is_none(), "larger than the piece");
    block.assert_untouched();
    // The end of each half is reached exactly.
    let half = LEAST_SPACE / 2;
    // SAFETY: the block is in use, and the last one.
    let whole = unsafe { arena.resize(block.start, half - UNIT) }.unwrap();
    assert_eq!(whole, block.start, "the last block grows where it is");
    let large = arena.take(half - UNIT, UNIT).unwrap();
    assert_eq!(large as usize, block.start as usize + half, "the other half");
    assert!(arena.take(0, 1).is_none(), "nothing is left");
    // What one half has no room for is taken from the other.
    // SAFETY: the block is in use, and forgotten here.
    unsafe { arena.give_back(large) };
    assert_eq!(arena.take(16, UNIT), Some(large), "a small block among the large ones");
}

#[test]
fn sizes_that_overflow_are_refused() {
    let arena = Arena::with_space(ROOM);
    let block = Block::filled(arena.take(16, UNIT).unwrap(), 16, 3);
    for size in [usize::MAX, usize::MAX - UNIT, usize::MAX / 2, 1 << 40] {
        assert!(arena.take(size, UNIT).is_none(), "{size}");
        assert!(arena.take_zeroed(size).is_none(), "{size}");
        // SAFETY: the block is in use.
        assert!(unsafe { arena.resize(block.start, size) }.is_none(), "{size}");
    }
    assert!(arena.take(16, 1 << (usize::BITS - 1)).is_none(), "no such address");
    block.assert_untouched();
}

#[test]
fn the_last_block_is_used_again_and_zeroed_when_asked() {
    let arena = Arena::with_space(ROOM);
    let first = Block::filled(arena.take(1_000, UNIT).unwrap(), 1_000, 0xff);
    // SAFETY: the block is in use, and forgotten here.
    unsafe { arena.give_back(first.start) };
    let second = arena.take_zeroed(2_000).unwrap();
    assert_eq!(second, first.start, "the same memory");
    Block { start: second, size: 2_000, pattern: 0 }.assert_untouched();
    // A block that is not the last one stays until the end.
    let third = arena.take(16, UNIT).unwrap();
    // SAFETY: the block is in use, and forgotten here.
    unsafe { arena.give_back(second) };
    let fourth = arena.take(16, UNIT).unwrap();
    assert!(fourth > third, "behind the last one");
}

#[test]
fn large_blocks_do_not_lie_between_small_ones() {
    let arena = Arena::with_space(ROOM);
    let first = Block::filled(arena.take(16, UNIT).unwrap(), 16, 1);
    let large = Block::filled(arena.take_zeroed(LARGE).unwrap(), LARGE, 2);
    let second = Block::filled(arena.take(16, UNIT).unwrap(), 16, 3);
    assert_eq!(second.start as usize, first.start as usize + 16 + UNIT, "next to the first");
    // SAFETY: the block is in use, and forgotten here.
    unsafe { arena.give_back(large.start) };
    let again = arena.take_zeroed(2 * LARGE).unwrap();
    assert_eq!(again, large.start, "the same memory");
    Block { start: again, size: 2 * LARGE, pattern: 0 }.assert_untouched();
    // A small one that becomes large, and is not the last one, goes to the others.
    // SAFETY: the block is in use, and replaced by what it becomes.
    let grown = unsafe { arena.resize(first.start, LARGE) }.unwrap();
    assert!(grown > again, "behind the large one");
    Block { start: grown, size: 16, pattern: 1 }.assert_untouched();
    second.assert_untouched();
}
