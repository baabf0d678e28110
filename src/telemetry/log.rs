//! No token and no shared secret reaches the server log, and the claims of the identity in force do if that is asked for.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};

use pg_jwks_core::redaction;
use pgrx::pg_sys;

use super::log_claims;
use crate::pg::backend_local::BackendLocal;
use crate::pg::hook::Hook;

static EMIT_LOG: Hook<pg_sys::emit_log_hook_type> = Hook::new(None);

/// Whether what is logged now is a line of the audit log.
static IS_AUDIT: BackendLocal<Cell<bool>> = BackendLocal::new(Cell::new(false));

/// Lets `write` log a line of the audit log. In all other lines of the session the words with which these begin are
/// changed, so that SQL cannot imitate one.
pub fn as_audit(write: impl FnOnce()) {
    struct Audit;
    impl Drop for Audit {
        fn drop(&mut self) {
            IS_AUDIT.set(false);
        }
    }
    let audit = Audit;
    IS_AUDIT.set(true);
    write();
    drop(audit);
}

/// Installs the hook before those of libraries that were loaded earlier.
pub fn install() {
    // SAFETY: the library is about to be loaded. The function raises nothing, and ends with the hook that is next.
    unsafe { EMIT_LOG.install(&raw mut pg_sys::emit_log_hook, Some(emit_log)) };
}

/// The untranslated form of the message with which the server reports a new value from a configuration file (guc.c).
const SETTING_CHANGED: &CStr = c"parameter \"%s\" changed to \"%s\"";

/// Replaces tokens and shared secrets in what is logged, and what could be taken for a line of the audit log; leaves out
/// the statement if it has one of them.
///
/// Runs inside error reporting, also when memory ran out and in signal handlers: it allocates nothing, raises nothing
/// and cannot panic. The functions of [`redaction`] promise the same.
///
/// # Safety
///
/// `edata` must be what PostgreSQL passes to this hook.
unsafe extern "C-unwind" fn emit_log(edata: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL passes NULL or its record of the error, which nobody else uses until the hook returns.
    if let Some(edata) = unsafe { edata.as_mut() } {
        // SAFETY: the texts of a record are NULL or C strings that error reporting has copied for it. debug_query_string
        // is NULL or the C string that the client sent. message_id is a literal.
        unsafe {
            conceal(edata);
            add_claims(edata);
        }
    }
    if let Some(next) = EMIT_LOG.next() {
        // SAFETY: it is the hook that was there before, and gets what PostgreSQL passed.
        unsafe { next(edata) };
    }
}

unsafe extern "C-unwind" {
    // Without pgrx's guard: with MCXT_ALLOC_NO_OOM it raises nothing that is small enough for a log.
    fn MemoryContextAllocExtended(context: pg_sys::MemoryContext, size: usize, flags: c_int) -> *mut c_void;
}

/// Puts the claims of the identity in force behind the detail that the server log shows, which the client does not get.
///
/// # Safety
///
/// The details of the record must be NULL or C strings.
unsafe fn add_claims(edata: &mut pg_sys::ErrorData) {
    let Some(claims) = log_claims::text() else { return };
    // SAFETY: the caller promises C strings. The block is as long as the parts, a separator and the NUL together, or NULL;
    // PostgreSQL frees it with the record.
    unsafe {
        let detail = if edata.detail_log.is_null() { edata.detail } else { edata.detail_log };
        let detail = bytes(detail).unwrap_or_default();
        let separator: &[u8] = if detail.is_empty() { b"" } else { b" " };
        let parts = [detail, separator, claims.to_bytes()];
        let length = parts.iter().fold(1_usize, |sum, part| sum.saturating_add(part.len()));
        if length > MAX_DETAIL_BYTES {
            return;
        }
        let flags = pg_sys::MCXT_ALLOC_NO_OOM as c_int;
        let block = MemoryContextAllocExtended(pg_sys::CurrentMemoryContext, length, flags).cast::<u8>();
        if block.is_null() {
            return;
        }
        let mut end = block;
        for part in parts {
            end.copy_from_nonoverlapping(part.as_ptr(), part.len());
            end = end.add(part.len());
        }
        end.write(0);
        edata.detail_log = block.cast();
    }
}

/// What PostgreSQL's allocator takes without an error is larger (MaxAllocSize).
const MAX_DETAIL_BYTES: usize = 64 << 20;

/// # Safety
///
/// The texts of the record must be NULL or C strings, and all but `message_id` writable up to their NUL;
/// `debug_query_string` must be NULL or a C string.
unsafe fn conceal(edata: &mut pg_sys::ErrorData) {
    // SAFETY: the caller promises C strings that are writable. No two of the fields share one, and each is used before
    // the next is looked at.
    unsafe {
        let statement = bytes(pg_sys::debug_query_string);
        let found = statement.map(redaction::find).unwrap_or_default();
        if bytes(edata.message_id).is_some_and(redaction::is_tree) {
            // Before what it has in one line is replaced, and the next line is left.
            rewrite(
                edata.detail,
                match found.token {
                    true => redaction::hide_token,
                    false => redaction::redact_tree,
                },
            );
        }
        // Backtraces have names of functions only.
        for field in [edata.message, edata.detail, edata.detail_log, edata.hint, edata.context, edata.internalquery] {
            rewrite(field, redaction::redact);
            if !IS_AUDIT.get() {
                rewrite(field, redaction::disown);
            }
        }
        edata.hide_stmt |= found.token || IS_AUDIT.get() || statement.is_some_and(redaction::has_audit);
        edata.hide_ctx |= IS_AUDIT.get();
        if bytes(edata.message_id) == Some(SETTING_CHANGED.to_bytes())
            && let Some(setting) = bytes(edata.message).and_then(redaction::secret_setting)
        {
            rewrite(edata.message, |message| {
                redaction::overwrite(message, &[b"parameter \"", setting.as_bytes(), b"\" changed"])
            });
        }
        // Of EXECUTE, only the detail tells what it executes; of parameters, the statement may tell nothing.
        let texts = [edata.message, edata.detail, edata.context, edata.internalquery];
        let named = |text: &*mut c_char| bytes(*text).and_then(redaction::secret_setting);
        if let Some(setting) = found.secret_setting.or_else(|| texts.iter().find_map(named)) {
            hide(edata, setting);
        }
    }
}

/// Leaves out whatever may repeat the value of a secret setting.
///
/// # Safety
///
/// As for [`conceal`].
unsafe fn hide(edata: &mut pg_sys::ErrorData, setting: &str) {
    edata.hide_stmt = true;
    // The client still gets it.
    edata.hide_ctx = true;
    // SAFETY: the caller promises C strings, writable but for message_id; each is used before the next is looked at.
    unsafe {
        let format = bytes(edata.message_id).unwrap_or_default();
        rewrite(edata.message, |message| redaction::hide_statement(message, format, setting));
        rewrite(edata.internalquery, |query| redaction::hide(query, setting));
        // Parameters, a prepared statement, or its tree. Other details are sentences.
        if redaction::repeats_statement(format) || redaction::is_tree(format) {
            for detail in [edata.detail, edata.detail_log] {
                rewrite(detail, |detail| redaction::hide(detail, setting));
            }
        }
    }
}

/// Changes a text in place; `change` returns the new length, which must not be above the former one.
///
/// # Safety
///
/// `field` must be NULL or a C string that is writable up to its NUL and not used otherwise during the call.
unsafe fn rewrite(field: *mut c_char, change: impl FnOnce(&mut [u8]) -> usize) {
    if field.is_null() {
        return;
    }
    // SAFETY: the caller promises a C string, so there are so many bytes before the NUL, all initialised, and nobody
    // else uses them.
    let text = unsafe { std::slice::from_raw_parts_mut(field.cast::<u8>(), CStr::from_ptr(field).count_bytes()) };
    let former = text.len();
    let length = change(text);
    if length < former {
        // SAFETY: the place is before the NUL.
        unsafe { field.add(length).write(0) };
    }
}

/// The bytes of a C string before its NUL.
///
/// # Safety
///
/// `text` must be NULL or a C string, which lives and stays unchanged for `'a`.
unsafe fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    match text.is_null() {
        true => None,
        // SAFETY: the caller promises a C string for that time.
        false => Some(unsafe { CStr::from_ptr(text) }.to_bytes()),
    }
}
