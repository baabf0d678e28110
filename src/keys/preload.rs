//! What the key cache asks of PostgreSQL when the library is preloaded: shared memory, and the worker that fills it.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{shared, worker};
use crate::pg::hook::Hook;

#[cfg(not(feature = "pg14"))]
static SHMEM_REQUEST: Hook<pg_sys::shmem_request_hook_type> = Hook::new(None);
static SHMEM_STARTUP: Hook<pg_sys::shmem_startup_hook_type> = Hook::new(None);

/// Asks for shared memory and for the worker that fetches keys into it. Called while the postmaster loads the library.
pub fn share() {
    // Before PostgreSQL 15 shared memory is asked for right here.
    #[cfg(feature = "pg14")]
    shared::request();
    // SAFETY: the postmaster is about to load the library, and will never unload it. Both functions call the hook that is
    // next.
    unsafe {
        #[cfg(not(feature = "pg14"))]
        SHMEM_REQUEST.install(&raw mut pg_sys::shmem_request_hook, Some(shmem_request));
        SHMEM_STARTUP.install(&raw mut pg_sys::shmem_startup_hook, Some(shmem_startup));
    }
    worker::register();
}

#[cfg(not(feature = "pg14"))]
#[pg_guard]
extern "C-unwind" fn shmem_request() {
    if let Some(next) = SHMEM_REQUEST.next() {
        // SAFETY: another library put this function there to be called now. It may raise, so it is called behind a guard.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| next()) };
    }
    shared::request();
}

#[pg_guard]
extern "C-unwind" fn shmem_startup() {
    if let Some(next) = SHMEM_STARTUP.next() {
        // SAFETY: another library put this function there to be called now. It may raise, so it is called behind a guard.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| next()) };
    }
    shared::start();
}
