//! One hook: no token reaches the server log.

use std::cell::Cell;
use std::ffi::{CStr, c_char};

use pg_jwks_core::redaction;
use pgrx::pg_sys;

thread_local! {
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
            edata.hide_stmt |= bytes(pg_sys::debug_query_string).is_some_and(redaction::has_token);
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
