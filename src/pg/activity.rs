//! What `pg_stat_activity` shows of this session.

use std::cell::Cell;
use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::backend_local::BackendLocal;

/// Changes the statement that `pg_stat_activity` shows for this session, which it does until the client sends the next one, if
/// it is one `to_change`. `change` gets the text in place, perhaps without its end, and returns the new length.
///
/// What was looked at already is not looked at again.
pub fn rewrite_statement(to_change: fn(&[u8]) -> bool, change: fn(&mut [u8]) -> usize) {
    // SAFETY: NULL, or this backend's entry, which only this backend writes.
    let Some(entry) = (unsafe { pg_sys::MyBEEntry.as_ref() }) else { return };
    if REWRITTEN.get() == Some(entry.st_changecount) {
        return;
    }
    rewrite(entry, to_change, change);
    REWRITTEN.set(Some(entry.st_changecount));
}

/// The entry's count of changes after it was last looked at.
static REWRITTEN: BackendLocal<Cell<Option<i32>>> = BackendLocal::new(Cell::new(None));

fn rewrite(entry: &pg_sys::PgBackendStatus, to_change: fn(&[u8]) -> bool, change: fn(&mut [u8]) -> usize) {
    // SAFETY: the text of an entry is a buffer whose last byte is always NUL.
    let shown = unsafe { CStr::from_ptr(entry.st_activity_raw) }.to_bytes();
    if !to_change(shown) {
        return;
    }
    let mut text = shown.to_vec();
    let length = change(&mut text);
    text.truncate(length);
    if text == shown {
        return;
    }
    let (state, query) = (entry.st_state, entry.st_query_id);
    #[cfg(feature = "pg18")]
    let plan = entry.st_plan_id;
    let Ok(text) = CString::new(text) else { return };
    // SAFETY: the function copies the C string. It forgets the identifiers, which are still those of the statement.
    unsafe {
        pg_sys::pgstat_report_activity(state, text.as_ptr());
        pg_sys::pgstat_report_query_id(query, true);
        #[cfg(feature = "pg18")]
        pg_sys::pgstat_report_plan_id(plan, true);
    }
}
