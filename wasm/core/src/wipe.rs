//! Keys leave no traces where nobody owns the memory any more. A type that wipes itself on drop is not enough: what is
//! moved, by us or by boringtun, leaves a copy behind, on the stack or in what the allocator gets back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

/// Deeper than any handshake goes, which takes some 4 KiB.
const STACK_BYTES: usize = 32 * 1024;

/// Runs `work`, and overwrites what it has left on the stack.
pub fn without_traces<R>(work: impl FnOnce() -> R) -> R {
    let result = in_frame_below(work);
    wipe_below();
    result
}

/// Not part of the caller's frame, which stays.
#[inline(never)]
fn in_frame_below<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[inline(never)]
fn wipe_below() {
    black_box(&mut [0_u8; STACK_BYTES]);
}

/// The system's allocator, which gets all memory back as zeros. Nothing is allocated for a packet, so none waits for it.
pub struct WipingAllocator;

// SAFETY: every call is passed on with the same arguments; a block is written to only while it is still the caller's.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe {
            block.write_bytes(0, layout.size());
            // Or the compiler would leave out what nobody reads any more.
            System.dealloc(black_box(block), layout);
        }
    }
    // `realloc` is the trait's own: a new block, a copy, and `dealloc` of the old one.
}
