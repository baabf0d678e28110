//! What the key cache asks of PostgreSQL when the library is preloaded: shared memory, and the worker that fills it.

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{shared, worker};
use crate::pg::backend_local::BackendLocal;

#[cfg(not(feature = "pg14"))]
static NEXT_SHMEM_REQUEST: BackendLocal<Cell<pg_sys::shmem_request_hook_type>> = BackendLocal::new(Cell::new(None));
static NEXT_SHMEM_STARTUP: BackendLocal<Cell<pg_sys::shmem_startup_hook_type>> = BackendLocal::new(Cell::new(None));

/// Asks for shared memory and for the worker that fetches keys into it.
pub fn share() {
    // SAFETY: the postmaster has one thread, and it loads libraries before it calls these hooks, so nobody reads the
    // variables meanwhile. The functions stay: a preloaded library is never unloaded.
    unsafe {
        #[cfg(feature = "pg14")]
        shared::request();
        #[cfg(not(feature = "pg14"))]
        {
            NEXT_SHMEM_REQUEST.set(pg_sys::shmem_request_hook);
            pg_sys::shmem_request_hook = Some(shmem_request);
        }
        NEXT_SHMEM_STARTUP.set(pg_sys::shmem_startup_hook);
        pg_sys::shmem_startup_hook = Some(shmem_startup);
    }
    worker::register();
}

#[cfg(not(feature = "pg14"))]
#[pg_guard]
extern "C-unwind" fn shmem_request() {
    if let Some(next) = NEXT_SHMEM_REQUEST.get() {
        // SAFETY: PostgreSQL or another library put this function there to be called now. It may raise, so it is called
        // behind a guard.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| next()) };
    }
    shared::request();
}

#[pg_guard]
extern "C-unwind" fn shmem_startup() {
    if let Some(next) = NEXT_SHMEM_STARTUP.get() {
        // SAFETY: PostgreSQL or another library put this function there to be called now. It may raise, so it is called
        // behind a guard.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| next()) };
    }
    shared::start();
}
