//! Memory that all processes of the cluster share, if the library is preloaded, and PostgreSQL's locks for it.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::backend_local::BackendLocal;
use super::hook::Hook;

/// A part of the shared memory.
#[derive(Clone, Copy)]
pub struct Area {
    /// Asks for the memory, by [`request`] and PostgreSQL's own functions.
    pub request: fn(),
    /// Finds it, by [`structure`]; at the start of the server and after each crash.
    pub start: fn(),
}

static AREAS: BackendLocal<RefCell<Vec<Area>>> = BackendLocal::new(RefCell::new(Vec::new()));
#[cfg(not(feature = "pg14"))]
static SHMEM_REQUEST: Hook<pg_sys::shmem_request_hook_type> = Hook::new(None);
static SHMEM_STARTUP: Hook<pg_sys::shmem_startup_hook_type> = Hook::new(None);

/// Which of PostgreSQL's locks guards the start of extensions' shared memory: AddinShmemInitLock, which
/// `storage/lwlocknames.h` has at this place in every version.
const ADDIN_SHMEM_INIT_LOCK: usize = 21;

/// Shares these areas. Called once, while the postmaster loads the library.
pub fn share(areas: &[Area]) {
    AREAS.set(areas.to_vec());
    // Before PostgreSQL 15 shared memory is asked for right here.
    #[cfg(feature = "pg14")]
    for_each(|area| area.request);
    // SAFETY: the postmaster is about to load the library, and will never unload it. Both functions call the hook that is
    // next.
    unsafe {
        #[cfg(not(feature = "pg14"))]
        SHMEM_REQUEST.install(&raw mut pg_sys::shmem_request_hook, Some(shmem_request));
        SHMEM_STARTUP.install(&raw mut pg_sys::shmem_startup_hook, Some(shmem_startup));
    }
}

fn for_each(act: fn(&Area) -> fn()) {
    AREAS.with_borrow(|areas| areas.iter().for_each(|area| act(area)()));
}

#[cfg(not(feature = "pg14"))]
#[pg_guard]
extern "C-unwind" fn shmem_request() {
    if let Some(next) = SHMEM_REQUEST.next() {
        // SAFETY: another library put this function there to be called now. It may raise, so it is called behind a guard.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| next()) };
    }
    for_each(|area| area.request);
}

#[pg_guard]
extern "C-unwind" fn shmem_startup() {
    if let Some(next) = SHMEM_STARTUP.next() {
        // SAFETY: another library put this function there to be called now. It may raise, so it is called behind a guard.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| next()) };
    }
    for_each(|area| area.start);
}

/// Asks for so many bytes. To be called by [`Area::request`].
pub fn request(size: usize) {
    // SAFETY: PostgreSQL takes requests now: in shmem_request_hook or, before PostgreSQL 15, while
    // shared_preload_libraries are loaded.
    unsafe { pg_sys::RequestAddinShmemSpace(size) };
}

/// The memory of this name and size, aligned for any type. `initialise` makes it what it is at first, if no process has done
/// so. To be called by [`Area::start`].
pub fn structure(name: &'static CStr, size: usize, initialise: impl FnOnce(*mut u8)) -> *mut u8 {
    let mut found = false;
    // SAFETY: MainLWLockArray is there when the startup hook runs, and has this lock (see its constant).
    let init_lock = unsafe { &raw mut (*pg_sys::MainLWLockArray.add(ADDIN_SHMEM_INIT_LOCK)).lock };
    let _locked = Locked::acquire(init_lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
    // SAFETY: the name is a literal, which stays, and the size is what was asked for.
    let memory: *mut u8 = unsafe { pg_sys::ShmemInitStruct(name.as_ptr(), size, &mut found).cast() };
    if !found {
        initialise(memory);
    }
    memory
}

/// A lock that is held while this lives, which a panic ends too.
pub struct Locked(*mut pg_sys::LWLock);

impl Locked {
    /// Takes one of PostgreSQL's locks, or one that was asked for with the shared memory, which this process does not hold.
    pub fn acquire(lock: *mut pg_sys::LWLock, mode: pg_sys::LWLockMode::Type) -> Self {
        // SAFETY: the caller names a lock that is there as long as the process, and does not hold it.
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
