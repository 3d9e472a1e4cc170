//! An allocator that counts: what a thread allocated and holds, and what the whole process does.
//!
//! A binary that wants figures says `#[global_allocator] static ALLOCATOR: Counting = Counting;`. Without that everything
//! here is 0. `unsafe`, because an allocator is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// Threads that count together get in each other's way, so only who asks for it pays.
static WATCHED: AtomicBool = AtomicBool::new(false);
static ALL_ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static ALL_BLOCKS: AtomicI64 = AtomicI64::new(0);
static ALL_BYTES: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, with counters.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counting;

/// Allocations that this thread has made so far.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// Bytes that this thread allocated less those that it freed: negative where it frees what others made.
#[must_use]
pub fn live_bytes() -> i64 {
    LIVE_BYTES.with(Cell::get)
}

/// What the whole process did since it was [watched](watch_process).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Allocations.
    pub allocations: u64,
    /// Blocks allocated less blocks freed.
    pub live_blocks: i64,
    /// Their bytes, as asked for.
    pub live_bytes: i64,
}

/// Begins to count what the whole process does.
pub fn watch_process() {
    WATCHED.store(true, Ordering::Relaxed);
}

/// The counters of the whole process.
#[must_use]
pub fn process() -> Process {
    Process {
        allocations: ALL_ALLOCATIONS.load(Ordering::Relaxed),
        live_blocks: ALL_BLOCKS.load(Ordering::Relaxed),
        live_bytes: ALL_BYTES.load(Ordering::Relaxed),
    }
}

fn count(allocations: u64, blocks: i64, bytes: i64) {
    // While a thread ends its cells are gone; only the process counts then.
    let _ = ALLOCATIONS.try_with(|cell| cell.set(cell.get().wrapping_add(allocations)));
    let _ = LIVE_BYTES.try_with(|cell| cell.set(cell.get().wrapping_add(bytes)));
    if WATCHED.load(Ordering::Relaxed) {
        ALL_ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
        ALL_BLOCKS.fetch_add(blocks, Ordering::Relaxed);
        ALL_BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator with the arguments it came with, so its contract is the
// system's; counting touches only atomics and cells without destructors and allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, 1, layout.size() as i64);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, 1, layout.size() as i64);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, -1, -(layout.size() as i64));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, 0, size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(block, layout, size) }
    }
}
