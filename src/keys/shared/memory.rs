//! The layout of the shared memory, its start, and its lock.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64};

use pgrx::pg_sys;

use crate::settings;

/// Origins that one cluster can use at a time.
pub const MAX_SLOTS: usize = 128;

/// Bytes of a descriptor: a long URL and a long path.
pub const MAX_DESCRIPTOR: usize = 2048;

/// Bytes that are kept of an error.
const MAX_ERROR: usize = 512;

const NAME: &CStr = c"pg_jwks";

/// A text of bounded length.
#[repr(C)]
pub struct Text<const N: usize> {
    length: usize,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// Stores as much of a text as fits.
    pub fn set(&mut self, text: &str) {
        let end = (0..=text.len().min(N)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        self.length = end;
    }

    /// The bytes of the text.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// A copy of the text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

/// What the cluster knows of an origin.
#[repr(C)]
pub struct Slot {
    /// Differs whenever the slot goes to another origin; 0 where it never had one.
    pub tenancy: u64,
    pub descriptor: Text<MAX_DESCRIPTOR>,
    /// The generation in which the document was published; 0 for none.
    pub serial: u64,
    pub offset: usize,
    pub length: usize,
    pub fetched: i64,
    pub life: i64,
    /// When a fetch was last begun, and when the next one is due.
    pub attempted: i64,
    pub due: i64,
    pub error: Text<MAX_ERROR>,
    /// Until then unknown keys cause no fetch.
    pub quiet_until: i64,
    /// The newest request, the newest one for newer keys than there are, the newest one that no cooldown holds up, and
    /// the newest one that the worker has answered.
    pub wanted: u64,
    pub wanted_newer: u64,
    pub wanted_now: u64,
    pub answered: u64,
}

/// What the lock guards, but for the documents.
#[repr(C)]
pub struct Guarded {
    pub slots: [Slot; MAX_SLOTS],
    pub tenancies: u64,
    pub arena_used: usize,
}

/// The whole. The arena, where the documents are, follows it.
#[repr(C)]
pub struct Memory {
    pub answered: pg_sys::ConditionVariable,
    pub worker: AtomicPtr<pg_sys::Latch>,
    pub generation: AtomicU64,
    pub last_used: [AtomicI64; MAX_SLOTS],
    arena_size: usize,
    guarded: Guarded,
}

struct Pointers {
    memory: Cell<*mut Memory>,
    lock: Cell<*mut pg_sys::LWLock>,
}

// SAFETY: the pointers are set once for each life of the shared memory, in the postmaster, and processes inherit them.
// Threads that fetch do not use them.
unsafe impl Sync for Pointers {}

static POINTERS: Pointers = Pointers { memory: Cell::new(ptr::null_mut()), lock: Cell::new(ptr::null_mut()) };

fn size() -> usize {
    size_of::<Memory>() + settings::shared_cache_bytes()
}

/// Asks for shared memory; called while the postmaster loads the library.
pub fn request() {
    // SAFETY: called from the hook that PostgreSQL provides for this.
    unsafe {
        pg_sys::RequestAddinShmemSpace(size());
        pg_sys::RequestNamedLWLockTranche(NAME.as_ptr(), 1);
    }
}

/// Initialises the shared memory; called from the startup hook, at the start of the server and after each crash.
pub fn startup() {
    let mut found = false;
    // SAFETY: the hook runs in the postmaster, before any other process has this memory. All-zero bytes are a valid
    // Memory (integers, null pointers and atomics) but for the condition variable, which is initialised.
    unsafe {
        let memory: *mut Memory = pg_sys::ShmemInitStruct(NAME.as_ptr(), size(), &mut found).cast();
        if !found {
            ptr::write_bytes(memory.cast::<u8>(), 0, size());
            pg_sys::ConditionVariableInit(&raw mut (*memory).answered);
            (*memory).arena_size = settings::shared_cache_bytes();
        }
        POINTERS.memory.set(memory);
        POINTERS.lock.set(&raw mut (*pg_sys::GetNamedLWLockTranche(NAME.as_ptr())).lock);
    }
}

/// The shared memory; NULL where the library is not preloaded.
pub fn pointer() -> *mut Memory {
    POINTERS.memory.get()
}

/// Reads under the lock, beside other readers. `act` must not take the lock again and must not call PostgreSQL.
pub fn read<T>(act: impl FnOnce(&Guarded, &[u8]) -> T) -> T {
    let _held = Held::acquire(pg_sys::LWLockMode::LW_SHARED);
    let memory = pointer();
    // SAFETY: writers are locked out, and the arena follows the Memory in the same allocation (`size`).
    unsafe { act(&(*memory).guarded, std::slice::from_raw_parts(memory.add(1).cast(), (*memory).arena_size)) }
}

/// Writes under the lock, alone. `act` must not take the lock again and must not call PostgreSQL.
pub fn write<T>(act: impl FnOnce(&mut Guarded, &mut [u8]) -> T) -> T {
    let _held = Held::acquire(pg_sys::LWLockMode::LW_EXCLUSIVE);
    let memory = pointer();
    // SAFETY: everybody else is locked out, and the arena follows the Memory in the same allocation (`size`).
    unsafe { act(&mut (*memory).guarded, std::slice::from_raw_parts_mut(memory.add(1).cast(), (*memory).arena_size)) }
}

/// The lock is held while this lives, which a panic ends too.
struct Held(*mut pg_sys::LWLock);

impl Held {
    fn acquire(mode: pg_sys::LWLockMode::Type) -> Self {
        let lock = POINTERS.lock.get();
        // SAFETY: the lock is initialised, and this process does not hold it: `act` above does not take it.
        unsafe { pg_sys::LWLockAcquire(lock, mode) };
        Self(lock)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the lock is held.
        unsafe { pg_sys::LWLockRelease(self.0) };
    }
}
