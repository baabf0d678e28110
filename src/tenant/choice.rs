//! The tenant that a user with several memberships has chosen: a guarded setting, `pg_jwks.tenant`.
//!
//! The value names the user whose choice it is, so that it counts for no other. It is no proof of membership: whoever
//! reads it checks that again. Transactions, savepoints, SET LOCAL, RESET, DISCARD and parallel workers treat it as any
//! setting.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use pgrx::pg_sys;
use pgrx::prelude::PgSqlErrorCode;

use super::moment;
use crate::pg::backend_local::BackendLocal;
use crate::pg::error::refuse_setting;
use crate::pg::setting;

/// The digest of a user's `iss` and `sub`.
pub type Subject = [u8; 32];

const NAME: &CStr = c"pg_jwks.tenant";

thread_local! {
    /// The value that `set` is about to assign.
    static PENDING: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// The variable of the setting. PostgreSQL alone writes it.
static VALUE: BackendLocal<Cell<*mut c_char>> = BackendLocal::new(Cell::new(ptr::null_mut()));

/// Defines the setting.
pub fn define() {
    // SAFETY: the name and the variable are static, and the hooks neither raise nor unwind.
    unsafe {
        pg_sys::DefineCustomStringVariable(
            NAME.as_ptr(),
            c"The tenant that the session's user has chosen.".as_ptr(),
            c"Set by auth.set_tenant() only.".as_ptr(),
            VALUE.as_ptr(),
            ptr::null(),
            pg_sys::GucContext::PGC_USERSET,
            (pg_sys::GUC_NO_SHOW_ALL | pg_sys::GUC_NOT_IN_SAMPLE | pg_sys::GUC_DISALLOW_IN_FILE) as i32,
            Some(check),
            Some(assign),
            None,
        );
    }
}

/// The choice of this user, if the session has one.
pub fn of(subject: Subject) -> Option<Vec<u8>> {
    // SAFETY: the variable is NULL or a C string that stays until the next assignment.
    let value = unsafe { VALUE.get().as_ref().map(|first| CStr::from_ptr(first)) }?;
    Some(value.to_bytes().strip_prefix(prefix(subject).as_bytes())?.to_vec())
}

/// Sets the choice of this user, for the session or for the transaction.
pub fn set(subject: Subject, tenant: &[u8], is_local: bool) {
    let Ok(value) = CString::new([prefix(subject).as_bytes(), tenant].concat()) else {
        unreachable!("text of the database has no NUL");
    };
    PENDING.set(Some(value.clone()));
    let _pending = ClearPending;
    setting::assign(NAME, Some(&value), is_local);
}

/// Takes the choice back.
pub fn clear(is_local: bool) {
    setting::assign(NAME, Some(c""), is_local);
}

struct ClearPending;

impl Drop for ClearPending {
    fn drop(&mut self) {
        PENDING.set(None);
    }
}

fn prefix(subject: Subject) -> String {
    let mut prefix: String = subject.iter().map(|byte| format!("{byte:02x}")).collect();
    prefix.push(':');
    prefix
}

unsafe extern "C-unwind" fn check(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a pointer to a C string or NULL, valid during the call.
    let Some(text) = (unsafe { (*value).as_ref().map(|first| CStr::from_ptr(first)) }) else {
        return true;
    };
    let own = || PENDING.with_borrow(|pending| pending.as_deref() == Some(text));
    // SAFETY: a plain read of a flag. A worker takes over what its leader has.
    if text.is_empty() || own() || unsafe { pg_sys::InitializingParallelWorker } {
        return true;
    }
    refuse_setting(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "parameter \"pg_jwks.tenant\" cannot be set directly",
        "It holds the tenant that the session's user has chosen.",
        "Call auth.set_tenant().",
    );
    false
}

unsafe extern "C-unwind" fn assign(_value: *const c_char, _extra: *mut c_void) {
    moment::changed();
}
