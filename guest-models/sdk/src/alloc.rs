//! The plugin's allocator: a small arena inside the memory that a call starts
//! with, then the standard one.
//!
//! Every call starts with fresh memory, and growing it costs the host two
//! system calls that hold up every other call. Most calls allocate a few
//! kilobytes, so they get them from an arena in the zeroed memory that is there
//! anyway; what does not fit goes to the standard allocator, which grows.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};

/// With 64 KiB of stack and the plugin's own data, two pages of memory in all,
/// which the host keeps resident between calls.
const ARENA_BYTES: usize = 32 << 10;

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new();

struct Allocator {
    arena: UnsafeCell<[u8; ARENA_BYTES]>,
    used: Cell<usize>,
    /// Whether the arena is left to others.
    is_spared: Cell<bool>,
}

/// Leaves the arena as it is until this is dropped: what is made ready once would fill it
/// for every call.
#[cfg(target_arch = "wasm32")]
pub(crate) fn beyond_the_arena() -> impl Drop {
    struct Beyond;
    impl Drop for Beyond {
        fn drop(&mut self) {
            ALLOCATOR.is_spared.set(false);
        }
    }
    ALLOCATOR.is_spared.set(true);
    Beyond
}

// SAFETY: a detector runs on one thread: the contract has no threads and the
// host offers none.
#[cfg(target_arch = "wasm32")]
unsafe impl Sync for Allocator {}

impl Allocator {
    const fn new() -> Self {
        Self {
            arena: UnsafeCell::new([0; ARENA_BYTES]),
            used: Cell::new(0),
            is_spared: Cell::new(false),
        }
    }

    fn base(&self) -> *mut u8 {
        self.arena.get().cast()
    }

    /// Where in the arena `pointer` lies.
    fn offset(&self, pointer: *mut u8) -> Option<usize> {
        let offset = (pointer as usize).checked_sub(self.base() as usize)?;
        (offset < ARENA_BYTES).then_some(offset)
    }

    /// Takes `size` bytes from `start` on, when the arena reaches that far.
    fn take(&self, start: usize, size: usize) -> Option<usize> {
        if self.is_spared.get() {
            return None;
        }
        let end = start.checked_add(size).filter(|&end| end <= ARENA_BYTES)?;
        self.used.set(end);
        Some(start)
    }
}

// SAFETY: blocks of the arena are disjoint, since `used` only ever moves back
// over the last one, and lie within it; all others are the standard allocator's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.base() as usize;
        let start = (base + self.used.get()).next_multiple_of(layout.align()) - base;
        match self.take(start, layout.size()) {
            // SAFETY: `start` is within the arena.
            Some(start) => unsafe { self.base().add(start) },
            // SAFETY: passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.offset(pointer) {
            // Only the last block is given back; the others go with the call.
            Some(start) if start + layout.size() == self.used.get() => self.used.set(start),
            Some(_) => {}
            // SAFETY: not the arena's, so it is the standard allocator's.
            None => unsafe { System.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(start) = self.offset(pointer) else {
            // SAFETY: not the arena's, so it is the standard allocator's.
            return unsafe { System.realloc(pointer, layout, new_size) };
        };
        let is_last = start + layout.size() == self.used.get();
        if is_last && self.take(start, new_size).is_some() {
            return pointer;
        }
        // SAFETY: the caller's size fits the caller's alignment.
        let new =
            unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks hold the smaller of the sizes, and are disjoint.
            unsafe { std::ptr::copy_nonoverlapping(pointer, new, layout.size().min(new_size)) };
            // SAFETY: passed on.
            unsafe { self.dealloc(pointer, layout) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn blocks_are_aligned_and_disjoint() {
        let allocator = Allocator::new();
        // SAFETY: the layouts have sizes, and the blocks are not used.
        let (a, b) = unsafe {
            (
                allocator.alloc(layout(3, 1)),
                allocator.alloc(layout(8, 64)),
            )
        };
        assert_eq!(b as usize % 64, 0);
        assert!(b as usize >= a as usize + 3);
        assert!(allocator.offset(b).is_some());
    }

    #[test]
    fn a_spared_arena_serves_nobody_and_is_as_it_was_afterwards() {
        let allocator = Allocator::new();
        // SAFETY: each block is used with the layout it was made with.
        unsafe {
            let before = allocator.alloc(layout(16, 8));
            allocator.is_spared.set(true);
            let beyond = allocator.alloc(layout(16, 8));
            assert!(allocator.offset(beyond).is_none());
            let moved = allocator.realloc(before, layout(16, 8), 32);
            assert!(allocator.offset(moved).is_none());
            allocator.is_spared.set(false);
            let after = allocator.alloc(layout(16, 8));
            assert_eq!(
                allocator.offset(after),
                Some(0),
                "the block that moved was the last"
            );
            allocator.dealloc(beyond, layout(16, 8));
            allocator.dealloc(moved, layout(32, 8));
        }
    }

    #[test]
    fn the_last_block_grows_in_place_and_is_given_back() {
        let allocator = Allocator::new();
        // SAFETY: each block is used with the layout it was made with.
        unsafe {
            let a = allocator.alloc(layout(16, 8));
            a.write_bytes(7, 16);
            let grown = allocator.realloc(a, layout(16, 8), 1000);
            assert_eq!(grown, a);
            allocator.dealloc(grown, layout(1000, 8));
            assert_eq!(allocator.alloc(layout(1, 1)), a);
        }
    }

    #[test]
    fn what_does_not_fit_comes_from_the_standard_allocator_with_its_content() {
        let allocator = Allocator::new();
        // SAFETY: each block is used with the layout it was made with.
        unsafe {
            let a = allocator.alloc(layout(100, 8));
            a.write_bytes(9, 100);
            let moved = allocator.realloc(a, layout(100, 8), ARENA_BYTES + 1);
            assert!(allocator.offset(moved).is_none());
            assert_eq!(std::slice::from_raw_parts(moved, 100), [9; 100]);
            assert_eq!(
                allocator.alloc(layout(1, 1)),
                a,
                "the old block was the last one"
            );
            allocator.dealloc(moved, layout(ARENA_BYTES + 1, 8));
        }
    }
}
