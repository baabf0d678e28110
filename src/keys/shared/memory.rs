//! The layout of the shared memory, its start, and its lock.

use std::cell::{Cell, UnsafeCell};
use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64};

use pg_jwks_core::cache::last_used::LastUsed;
use pg_jwks_core::cache::slots;
use pgrx::pg_sys;

use crate::pg::backend_local::BackendLocal;
use crate::pg::shared_memory::{self, Area, Locked};
use crate::settings;

/// Sources that one cluster can use at a time.
const MAX_SLOTS: usize = 128;

type Slots = slots::Slots<MAX_SLOTS>;

/// What the slots are at first. They are too large for the stack.
static FREE: Slots = Slots::FREE;

const NAME: &CStr = c"pg_jwks";

/// The whole. The arena, where the documents are, follows it.
#[repr(C)]
pub struct Memory {
    /// Broadcast whenever the worker has answered, or a slot has gone to another source.
    pub answered: UnsafeCell<pg_sys::ConditionVariable>,
    /// The latch that wakes the worker; NULL while there is no worker.
    pub worker: AtomicPtr<pg_sys::Latch>,
    /// Counts everything that may interest a backend. It moves under the lock, so that whoever sees the new value and
    /// then takes the lock sees what changed.
    pub generation: AtomicU64,
    /// When each slot was last used.
    pub last_used: [LastUsed; MAX_SLOTS],
    arena_size: usize,
    slots: UnsafeCell<Slots>,
}

static MEMORY: BackendLocal<Cell<*mut Memory>> = BackendLocal::new(Cell::new(ptr::null_mut()));
static LOCK: BackendLocal<Cell<*mut pg_sys::LWLock>> = BackendLocal::new(Cell::new(ptr::null_mut()));

fn size() -> usize {
    size_of::<Memory>() + settings::shared_cache_bytes()
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
        // after it), and is aligned for any type. Nobody else uses it yet. Every field is written before it is read; the
        // bytes of the arena are initialised by zeroing them.
        unsafe {
            ptr::write_bytes(memory.cast::<u8>(), 0, size());
            pg_sys::ConditionVariableInit((*memory).answered.get());
            (&raw mut (*memory).worker).write(AtomicPtr::new(ptr::null_mut()));
            (&raw mut (*memory).generation).write(AtomicU64::new(0));
            (&raw mut (*memory).last_used).write([const { LastUsed::never() }; MAX_SLOTS]);
            (&raw mut (*memory).arena_size).write(settings::shared_cache_bytes());
            UnsafeCell::raw_get(&raw const (*memory).slots).copy_from_nonoverlapping(&raw const FREE, 1);
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

impl Memory {
    /// Reads under the lock, beside other readers. `act` must not take the lock again, and must not call PostgreSQL.
    pub fn read<T>(&self, act: impl FnOnce(&Slots, &[u8]) -> T) -> T {
        let _locked = Locked::acquire(LOCK.get(), pg_sys::LWLockMode::LW_SHARED);
        // SAFETY: writers are locked out while this is borrowed. The arena follows the Memory in the same allocation
        // (`size`), and `start` has initialised its bytes.
        unsafe { act(&*self.slots.get(), std::slice::from_raw_parts(self.arena(), self.arena_size)) }
    }

    /// Writes under the lock, alone. `act` must not take the lock again, and must not call PostgreSQL.
    pub fn write<T>(&self, act: impl FnOnce(&mut Slots, &mut [u8]) -> T) -> T {
        let _locked = Locked::acquire(LOCK.get(), pg_sys::LWLockMode::LW_EXCLUSIVE);
        // SAFETY: every other process is locked out while this is borrowed, and this process cannot come here again
        // (`act` does not). The arena follows the Memory in the same allocation (`size`), and `start` has initialised
        // its bytes.
        unsafe { act(&mut *self.slots.get(), std::slice::from_raw_parts_mut(self.arena(), self.arena_size)) }
    }

    fn arena(&self) -> *mut u8 {
        // Not from `self`, whose provenance ends with the Memory.
        MEMORY.get().wrapping_add(1).cast()
    }
}
