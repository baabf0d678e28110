//! The layout of the shared memory, its start, and its lock.

use std::cell::{Cell, UnsafeCell};
use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64};

use pg_jwks_core::cache::last_used::LastUsed;
use pg_jwks_core::cache::slots;
use pgrx::pg_sys;

use crate::pg::backend_local::BackendLocal;
use crate::settings;

/// Sources that one cluster can use at a time.
const MAX_SLOTS: usize = 128;

type Slots = slots::Slots<MAX_SLOTS>;

/// What the slots are at first. They are too large for the stack.
static FREE: Slots = Slots::FREE;

const NAME: &CStr = c"pg_jwks";

/// Which of PostgreSQL's locks guards the start of extensions' shared memory: AddinShmemInitLock, which
/// `storage/lwlocknames.h` has at this place in every version.
const ADDIN_SHMEM_INIT_LOCK: usize = 21;

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

/// Asks for shared memory; called while the postmaster loads the library.
pub fn request() {
    // SAFETY: `keys::preload` calls this where PostgreSQL takes such requests: in shmem_request_hook or, before
    // PostgreSQL 15, while shared_preload_libraries are loaded. The name is a literal, which stays.
    unsafe {
        pg_sys::RequestAddinShmemSpace(size());
        pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1);
    }
}

/// Initialises the shared memory; called from the startup hook, at the start of the server and after each crash.
pub fn start() {
    let mut found = false;
    // SAFETY: MainLWLockArray is there when the startup hook runs, and has this lock (see its constant).
    let init_lock = unsafe { &raw mut (*pg_sys::MainLWLockArray.add(ADDIN_SHMEM_INIT_LOCK)).lock };
    let _locked = Locked::acquire(init_lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
    // SAFETY: the structure has the size that was asked for (`request`: settings of the server's start do not change
    // after it), and is aligned for any type. While this holds AddinShmemInitLock nobody else uses it. Every field is
    // written before it is read; the bytes of the arena are initialised by zeroing them.
    unsafe {
        let memory: *mut Memory = pg_sys::ShmemInitStruct(NAME.as_ptr(), size(), &mut found).cast();
        if !found {
            ptr::write_bytes(memory.cast::<u8>(), 0, size());
            pg_sys::ConditionVariableInit((*memory).answered.get());
            (&raw mut (*memory).worker).write(AtomicPtr::new(ptr::null_mut()));
            (&raw mut (*memory).generation).write(AtomicU64::new(0));
            (&raw mut (*memory).last_used).write([const { LastUsed::never() }; MAX_SLOTS]);
            (&raw mut (*memory).arena_size).write(settings::shared_cache_bytes());
            UnsafeCell::raw_get(&raw const (*memory).slots).copy_from_nonoverlapping(&raw const FREE, 1);
        }
        MEMORY.set(memory);
        LOCK.set(&raw mut (*pg_sys::GetNamedLWLockTranche(NAME.as_ptr())).lock);
    }
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

/// The lock is held while this lives, which a panic ends too.
struct Locked(*mut pg_sys::LWLock);

impl Locked {
    fn acquire(lock: *mut pg_sys::LWLock, mode: pg_sys::LWLockMode::Type) -> Self {
        // SAFETY: the lock is one of PostgreSQL's own or was set by `start`. This process does not hold it: `start` is
        // called once at a time, and what runs under the other lock does not come here.
        unsafe { pg_sys::LWLockAcquire(lock, mode) };
        Self(lock)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: the lock is valid (`acquire`). It is held unless an error of PostgreSQL is unwinding: then errfinish
        // has set InterruptHoldoffCount, which LWLockAcquire raised, to 0, and the end of the transaction or process
        // releases all locks.
        unsafe {
            if pg_sys::InterruptHoldoffCount > 0 {
                pg_sys::LWLockRelease(self.0);
            }
        }
    }
}
