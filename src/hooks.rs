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

/// The untranslated form of the message with which the server reports a new value from a configuration file (guc.c).
const SETTING_CHANGED: &CStr = c"parameter \"%s\" changed to \"%s\"";

/// Replaces tokens and shared secrets in what is logged, and leaves out the statement where it has one. Runs inside error reporting, so
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
            if bytes(edata.message_id) == Some(SETTING_CHANGED.to_bytes())
                && let Some(setting) = bytes(edata.message).and_then(redaction::secret_setting)
            {
                overwrite(edata.message, format!("parameter \"{setting}\" changed").as_bytes());
            }
            edata.hide_stmt |= bytes(pg_sys::debug_query_string).is_some_and(|statement| {
                redaction::has_token(statement) || redaction::secret_setting(statement).is_some()
            });
        }
        if let Some(next) = NEXT_EMIT_LOG.get() {
            next(edata);
        }
    }
}

unsafe fn redact(field: &mut *mut c_char) {
    // SAFETY: the caller passes NULL or a C string.
    let Some(redacted) = (unsafe { bytes(*field) }).and_then(redaction::redacted) else {
        return;
    };
    // SAFETY: the caller passes a string of error reporting's.
    unsafe { overwrite(*field, &redacted) }
}

/// Puts another text in place of one, as far as it fits: nothing must be allocated.
unsafe fn overwrite(field: *mut c_char, text: &[u8]) {
    // SAFETY: the caller passes a C string that error reporting owns; those are writable up to their NUL.
    unsafe {
        let length = text.len().min(CStr::from_ptr(field).count_bytes());
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), field, length);
        field.add(length).write(0);
    }
}

unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller passes NULL or a C string.
    unsafe { text.as_ref().map(|first| CStr::from_ptr(first).to_bytes()) }
}
