//! A trap for the rule "after the clone the child does not allocate": debug builds end with code 99 where it does.

#[cfg(debug_assertions)]
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

static ARMED: AtomicBool = AtomicBool::new(false);

/// From now on an allocation ends this process with code 99. Called in the child, first thing.
pub(crate) fn arm() {
    ARMED.store(true, Ordering::Relaxed);
}

#[cfg(debug_assertions)]
#[global_allocator]
static ALLOCATOR: Trap = Trap;

/// The system's allocator, with the trap in front of it.
#[cfg(debug_assertions)]
struct Trap;

#[cfg(debug_assertions)]
impl Trap {
    fn check() {
        if ARMED.load(Ordering::Relaxed) {
            super::process::exit(99);
        }
    }
}

#[cfg(debug_assertions)]
// SAFETY: every call is handed on unchanged to the system's allocator; the check before it returns or ends the process.
unsafe impl GlobalAlloc for Trap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Trap::check();
        // SAFETY: the caller's contract is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        Trap::check();
        // SAFETY: the caller's contract is System's.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Trap::check();
        // SAFETY: the caller's contract is System's.
        unsafe { System.realloc(memory, layout, size) }
    }
}
