//! The layout of the shared memory, its start, and its lock.

use std::cell::{Cell, UnsafeCell};
use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64};

use pg_jwks_core::cache::last_used::LastUsed;
use pg_jwks_core::cache::slots::{Slot, Slots};
use pgrx::pg_sys;

use crate::pg::backend_local::BackendLocal;
use crate::pg::shared_memory::{self, Area, Locked};
use crate::settings;

const NAME: &CStr = c"pg_jwks";

/// The head of it. What follows are the moments of use of the slots, the slots, and the arena, where the documents are.
#[repr(C)]
pub struct Memory {
    /// Broadcast whenever the worker has answered, or a slot has gone to another source.
    pub answered: UnsafeCell<pg_sys::ConditionVariable>,
    /// The latch that wakes the worker; NULL while there is no worker.
    pub worker: AtomicPtr<pg_sys::Latch>,
    /// Counts everything that may interest a backend. It moves under the lock, so that whoever sees the new value and
    /// then takes the lock sees what changed.
    pub generation: AtomicU64,
    /// As many as the settings said at the server's start.
    slots: usize,
    arena_size: usize,
}

static MEMORY: BackendLocal<Cell<*mut Memory>> = BackendLocal::new(Cell::new(ptr::null_mut()));
static LOCK: BackendLocal<Cell<*mut pg_sys::LWLock>> = BackendLocal::new(Cell::new(ptr::null_mut()));

/// Where the parts are that follow the head of a memory with so many slots.
struct Layout {
    last_used: usize,
    slots: usize,
    arena: usize,
}

impl Layout {
    const fn of(slots: usize) -> Self {
        const { assert!(size_of::<Memory>().is_multiple_of(align_of::<Slots<[Slot; 1]>>())) };
        let last_used = size_of::<Memory>();
        let slots_at = last_used + slots * size_of::<LastUsed>();
        let head = size_of::<Slots<[Slot; 0]>>();
        Self { last_used, slots: slots_at, arena: slots_at + head + slots * size_of::<Slot>() }
    }
}

fn size() -> usize {
    Layout::of(settings::max_key_sources()).arena + settings::shared_cache_bytes()
}

/// The memory and its lock.
pub const AREA: Area = Area { request, start };

fn request() {
    shared_memory::request(size());
    // SAFETY: PostgreSQL takes such requests where it takes those for memory. The name is a literal, which stays.
    unsafe { pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1) };
}

fn start() {
    let memory = shared_memory::structure(NAME, size(), |memory| {
        let memory = memory.cast::<Memory>();
        // SAFETY: the structure has the size that was asked for (`request`: settings of the server's start do not change
        // after it), and is aligned for any type. Nobody else uses it yet. Every field is written before it is read; zeros
        // are bytes of the arena, uses that never were, and the beginning of slots, of which each is then written.
        unsafe {
            ptr::write_bytes(memory.cast::<u8>(), 0, size());
            pg_sys::ConditionVariableInit((*memory).answered.get());
            (&raw mut (*memory).worker).write(AtomicPtr::new(ptr::null_mut()));
            (&raw mut (*memory).generation).write(AtomicU64::new(0));
            (&raw mut (*memory).slots).write(settings::max_key_sources());
            (&raw mut (*memory).arena_size).write(settings::shared_cache_bytes());
            (*slots_of(memory)).free_all();
        }
    });
    MEMORY.set(memory.cast());
    // SAFETY: the tranche was asked for by `request`, and has one lock.
    LOCK.set(unsafe { &raw mut (*pg_sys::GetNamedLWLockTranche(NAME.as_ptr())).lock });
}

/// The shared memory; `None` if the library is not preloaded.
pub fn memory() -> Option<&'static Memory> {
    // SAFETY: NULL, or initialised by `start` in the postmaster before any other process began, and mapped as long as
    // this process lives. What changes in it is atomic or in an UnsafeCell.
    unsafe { MEMORY.get().as_ref() }
}

/// The slots of a memory.
///
/// # Safety
///
/// The memory must have its head, and be as large as `Layout` says for as many slots as that counts.
unsafe fn slots_of(memory: *mut Memory) -> *mut Slots {
    // SAFETY: the caller's promise. A pointer to slots is one to their beginning, with their number.
    unsafe {
        let count = (*memory).slots;
        let start: *mut Slot = memory.byte_add(Layout::of(count).slots).cast();
        ptr::slice_from_raw_parts_mut(start, count) as *mut Slots
    }
}

impl Memory {
    /// When each slot was last used.
    pub fn last_used(&self) -> &[LastUsed] {
        // SAFETY: so many, all of them atomic, are where the layout has them, in memory that `start` has set to zero.
        unsafe { std::slice::from_raw_parts(self.part(Layout::of(self.slots).last_used).cast(), self.slots) }
    }

    /// Reads under the lock, beside other readers. `act` must not take the lock again, and must not call PostgreSQL.
    pub fn read<T>(&self, act: impl FnOnce(&Slots, &[u8]) -> T) -> T {
        let _locked = Locked::acquire(LOCK.get(), pg_sys::LWLockMode::LW_SHARED);
        // SAFETY: writers are locked out while this is borrowed. The slots and the arena follow the head in the same
        // allocation (`size`), and `start` has initialised their bytes.
        unsafe { act(&*slots_of(MEMORY.get()), std::slice::from_raw_parts(self.arena(), self.arena_size)) }
    }

    /// Writes under the lock, alone. `act` must not take the lock again, and must not call PostgreSQL.
    pub fn write<T>(&self, act: impl FnOnce(&mut Slots, &mut [u8]) -> T) -> T {
        let _locked = Locked::acquire(LOCK.get(), pg_sys::LWLockMode::LW_EXCLUSIVE);
        // SAFETY: every other process is locked out while this is borrowed, and this process cannot come here again
        // (`act` does not). The slots and the arena follow the head in the same allocation (`size`), and `start` has
        // initialised their bytes.
        unsafe { act(&mut *slots_of(MEMORY.get()), std::slice::from_raw_parts_mut(self.arena(), self.arena_size)) }
    }

    fn arena(&self) -> *mut u8 {
        self.part(Layout::of(self.slots).arena)
    }

    fn part(&self, offset: usize) -> *mut u8 {
        // Not from `self`, whose provenance ends with the head.
        MEMORY.get().wrapping_byte_add(offset).cast()
    }
}
