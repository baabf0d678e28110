//! No token and no shared secret reaches the server log.

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
