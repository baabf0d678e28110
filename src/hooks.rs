//! Hooks: no token reaches the server log, and the key cache gets its shared memory.

use std::cell::Cell;
use std::ffi::{CStr, c_char};

use pg_jwks_core::redaction;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::{keys, statistics, verification};

thread_local! {
    #[cfg(not(feature = "pg14"))]
    static NEXT_SHMEM_REQUEST: Cell<pg_sys::shmem_request_hook_type> = const { Cell::new(None) };
    static NEXT_SHMEM_STARTUP: Cell<pg_sys::shmem_startup_hook_type> = const { Cell::new(None) };
    static NEXT_EMIT_LOG: Cell<pg_sys::emit_log_hook_type> = const { Cell::new(None) };
}

/// Installs the hook before those of libraries that were loaded earlier.
pub fn install() {
    // SAFETY: a hook variable is set while the library is loaded, as PostgreSQL prescribes.
    unsafe {
        NEXT_EMIT_LOG.set(pg_sys::emit_log_hook);
        pg_sys::emit_log_hook = Some(emit_log);
    }
}

/// Where the library is preloaded: asks for shared memory and for the worker that fetches keys into it.
pub fn share_keys() {
    // SAFETY: hook variables are set while the library is loaded, as PostgreSQL prescribes; before PostgreSQL 15 shared
    // memory is asked for right there.
    unsafe {
        // A single-user server has no background workers.
        if !pg_sys::process_shared_preload_libraries_in_progress || !pg_sys::IsPostmasterEnvironment {
            return;
        }
        #[cfg(feature = "pg14")]
        keys::request_shared_memory();
        #[cfg(not(feature = "pg14"))]
        {
            NEXT_SHMEM_REQUEST.set(pg_sys::shmem_request_hook);
            pg_sys::shmem_request_hook = Some(shmem_request);
        }
        NEXT_SHMEM_STARTUP.set(pg_sys::shmem_startup_hook);
        pg_sys::shmem_startup_hook = Some(shmem_startup);
    }
    if let Err(error) = statistics::share() {
        error!("pg_jwks: no memory for counters: {error}");
    }
    keys::register_worker();
    verification::warm_up();
}

#[cfg(not(feature = "pg14"))]
#[pg_guard]
unsafe extern "C-unwind" fn shmem_request() {
    if let Some(next) = NEXT_SHMEM_REQUEST.get() {
        // SAFETY: the hook that was there before takes no arguments.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| next()) };
    }
    keys::request_shared_memory();
}

#[pg_guard]
unsafe extern "C-unwind" fn shmem_startup() {
    if let Some(next) = NEXT_SHMEM_STARTUP.get() {
        // SAFETY: the hook that was there before takes no arguments.
        unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| next()) };
    }
    keys::start_shared_memory();
}

/// Replaces tokens in what is logged, and leaves out the statement where it has one. Runs inside error reporting, so
/// it raises nothing and calls nothing that might.
unsafe extern "C-unwind" fn emit_log(edata: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL passes a complete ErrorData, whose strings are NULL or C strings, and calls this hook before
    // it uses them. debug_query_string is NULL or a C string.
    unsafe {
        if let Some(edata) = edata.as_mut() {
            for field in [
                &mut edata.message,
                &mut edata.detail,
                &mut edata.detail_log,
                &mut edata.hint,
                &mut edata.context,
                &mut edata.internalquery,
            ] {
                redact(field);
            }
            edata.hide_stmt |= bytes(pg_sys::debug_query_string)
                .is_some_and(|statement| redaction::has_token(statement) || sets_secret(statement));
        }
        if let Some(next) = NEXT_EMIT_LOG.get() {
            next(edata);
        }
    }
}

/// Whether a statement names a setting whose value can be a shared secret.
fn sets_secret(statement: &[u8]) -> bool {
    let names = |name: &[u8]| statement.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name));
    names(b"pg_jwks.jwks") || names(b"pg_jwks.providers")
}

unsafe fn redact(field: &mut *mut c_char) {
    // SAFETY: the caller passes NULL or a C string.
    let Some(redacted) = (unsafe { bytes(*field) }).and_then(redaction::redacted) else {
        return;
    };
    // The redacted text fits in place of a longer one, so nothing must be allocated; a token is longer than its mark.
    // SAFETY: error reporting owns these strings, and they are writable up to their NUL.
    unsafe {
        std::ptr::copy_nonoverlapping(redacted.as_ptr().cast(), *field, redacted.len());
        (*field).add(redacted.len()).write(0);
    }
}

unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller passes NULL or a C string.
    unsafe { text.as_ref().map(|first| CStr::from_ptr(first).to_bytes()) }
}
