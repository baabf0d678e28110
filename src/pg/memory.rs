//! The memory of the library's own code: the system's, and a reserve for when that gives none.
//!
//! Rust ends a process in which an allocation fails, and PostgreSQL restarts all processes when one ends like that. With
//! the reserve, a call that runs out of memory comes to its end; the next one is refused, as PostgreSQL refuses statements.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::prelude::*;
use spinning_top::RawSpinlock;
use talc::TalcLock;
use talc::source::Claim;

use super::error;

/// What one call may need at most: the claims of the longest token, or the largest document of keys, several times over.
const RESERVE_BYTES: usize = 4 << 20;

/// If so much can be had in one piece after the reserve was drawn upon, there is memory again.
const ENOUGH_BYTES: usize = 1 << 20;

/// So much must be there in any case. The system's allocator gives pieces of this size without a system call.
const LEAST_BYTES: usize = 64 << 10;

/// So many times its size an input takes while it is parsed and copied, by the library and by PostgreSQL.
const BYTES_FOR_A_BYTE: usize = 32;

/// Zeros that take no memory until they are used.
static mut MEMORY: [u8; RESERVE_BYTES] = [0; RESERVE_BYTES];

static RESERVE: TalcLock<RawSpinlock, Claim> = TalcLock::new(
    // SAFETY: nothing else uses the array.
    unsafe { Claim::array(&raw mut MEMORY) },
);

/// Whether the reserve was drawn upon since there was enough memory.
static DRAWN_UPON: AtomicBool = AtomicBool::new(false);

/// The allocator of the library.
struct Reserved;

#[global_allocator]
static ALLOCATOR: Reserved = Reserved;

// SAFETY: each block comes from the system or from the reserve, as its address tells, and goes back to where it is from.
unsafe impl GlobalAlloc for Reserved {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is that of this function.
        unsafe { or_reserve(system(|| System.alloc(layout)), layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is that of these functions; a block of the reserve has so many bytes.
        unsafe {
            let block = or_reserve(system(|| System.alloc_zeroed(layout)), layout);
            if is_of_reserve(block) {
                ptr::write_bytes(block, 0, layout.size());
            }
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller has the block from one of the two, with this layout.
        unsafe {
            match is_of_reserve(block) {
                true => RESERVE.dealloc(block, layout),
                false => System.dealloc(block, layout),
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller has the block with this layout, and promises that the new one is a layout too. The old block is
        // given back only once its bytes are in the new one.
        unsafe {
            if !is_of_reserve(block) {
                let grown = system(|| System.realloc(block, layout, size));
                if !grown.is_null() {
                    return grown;
                }
            }
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

fn is_of_reserve(block: *mut u8) -> bool {
    let start = (&raw const MEMORY).addr();
    (start..start + RESERVE_BYTES).contains(&block.addr())
}

/// The block, or one of the reserve in place of NULL.
///
/// # Safety
///
/// As [`GlobalAlloc::alloc`].
unsafe fn or_reserve(block: *mut u8, layout: Layout) -> *mut u8 {
    if !block.is_null() {
        return block;
    }
    DRAWN_UPON.store(true, Ordering::Relaxed);
    // SAFETY: the caller's promise is that of this function.
    unsafe { RESERVE.alloc(layout) }
}

#[cfg(not(feature = "failing_allocations"))]
fn system(allocate: impl FnOnce() -> *mut u8) -> *mut u8 {
    allocate()
}

/// Lets every seventh allocation fail.
#[cfg(feature = "failing_allocations")]
fn system(allocate: impl FnOnce() -> *mut u8) -> *mut u8 {
    use std::sync::atomic::AtomicU64;
    static COUNT: AtomicU64 = AtomicU64::new(0);
    match COUNT.fetch_add(1, Ordering::Relaxed) % 7 {
        6 => ptr::null_mut(),
        _ => allocate(),
    }
}

/// Whether there is too little memory to begin with so many bytes of input.
pub fn is_exhausted(input_bytes: usize) -> bool {
    let was_drawn_upon = DRAWN_UPON.load(Ordering::Relaxed);
    let least = LEAST_BYTES + input_bytes.saturating_mul(BYTES_FOR_A_BYTE);
    let is_there = may_have(if was_drawn_upon { least.max(ENOUGH_BYTES) } else { least });
    if was_drawn_upon && is_there {
        DRAWN_UPON.store(false, Ordering::Relaxed);
    }
    !is_there
}

fn may_have(bytes: usize) -> bool {
    // SAFETY: malloc may be asked for any size, and free takes what it gave.
    unsafe {
        // The compiler would leave out both, and take it for granted that there is memory.
        let block = std::hint::black_box(libc::malloc(bytes));
        libc::free(block);
        !block.is_null()
    }
}

/// Raises 53200 if [`is_exhausted`]. To be called before the work of a statement, and before PostgreSQL does a part of it:
/// an error of PostgreSQL's passes through Rust only if there is memory for it, or else all processes end.
pub fn require(input_bytes: usize) {
    if is_exhausted(input_bytes) {
        error::raise(
            PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY,
            "out of memory".into(),
            "There is too little memory for pg_jwks to begin.".into(),
            None,
        )
    }
}

/// Raises 54001 if the stack is nearly used up.
pub fn check_stack() {
    // SAFETY: compares an address with a setting.
    unsafe { pg_sys::check_stack_depth() }
}
