//! The identity with which a session began: that of its login.
//!
//! PostgreSQL keeps it as the setting's reset value, so RESET and DISCARD return to it with no code. A failed
//! `jwt_session_init` revokes it like any other, and erases its text, which PostgreSQL's references share. A statement
//! that returns to the login therefore first restores the text and gives it a new serial number. Where that statement's
//! transaction is rolled back it is revoked again: what a rollback brings back is the state after the failure.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use pgrx::pg_sys;

use super::{NAME, STATE, VALUE, erase, next_serial, pending};
use crate::pg::setting;

struct Login {
    /// What PostgreSQL has as the reset value, for the backend's life.
    value: *mut c_char,
    text: CString,
}

thread_local! {
    static LOGIN: RefCell<Option<Login>> = const { RefCell::new(None) };
    /// The open transaction or subtransaction that restored the login.
    static RESTORED_IN: Cell<Option<pg_sys::SubTransactionId>> = const { Cell::new(None) };
}

/// Makes claims the identity of the session that begins. Called once, during authentication.
pub fn log_in(json: &str, expires: i64, read_only: bool) {
    let Ok(text) = CString::new(json) else {
        unreachable!("JSON text has no NUL");
    };
    {
        let _pending = pending(&text, expires, read_only);
        setting::assign_for_good(NAME, &text);
    }
    STATE.login.set(STATE.stamp.get());
    STATE.login_serial.set(STATE.newest.get());
    LOGIN.set(Some(Login { value: VALUE.get(), text }));
    // SAFETY: the callbacks neither raise nor unwind.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_ended), ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_ended), ptr::null_mut());
    }
}

/// Undoes the revocation of the login, where it was revoked: the caller is about to return to it.
pub fn restore() {
    LOGIN.with_borrow(|login| {
        let Some(login) = login else { return };
        if !STATE.is_revoked(STATE.login.get()) {
            return;
        }
        STATE.login_serial.set(next_serial());
        // SAFETY: the reset value was as long as the text, and an erased one keeps its room.
        unsafe {
            ptr::copy_nonoverlapping(login.text.as_ptr(), login.value, login.text.count_bytes() + 1);
        }
        if VALUE.get() == login.value {
            STATE.stamp.set(STATE.login.get());
        }
        // SAFETY: reads a variable of the transaction in progress.
        RESTORED_IN.set(Some(unsafe { pg_sys::GetCurrentSubTransactionId() }));
    });
}

/// What `restore` did is rolled back. Called before PostgreSQL restores its settings.
fn revoke() {
    RESTORED_IN.set(None);
    LOGIN.with_borrow(|login| {
        let Some(login) = login else { return };
        STATE.login_serial.set(0);
        if STATE.stamp.get() == STATE.login.get() {
            STATE.stamp.set(ptr::null());
        }
        // SAFETY: PostgreSQL made the value, and keeps it as the reset value.
        unsafe { erase(login.value) };
    });
}

unsafe extern "C-unwind" fn transaction_ended(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::{XACT_EVENT_ABORT, XACT_EVENT_COMMIT, XACT_EVENT_PREPARE};
    if RESTORED_IN.get().is_none() {
        return;
    }
    match event {
        XACT_EVENT_ABORT => revoke(),
        XACT_EVENT_COMMIT | XACT_EVENT_PREPARE => RESTORED_IN.set(None),
        _ => {}
    }
}

unsafe extern "C-unwind" fn subtransaction_ended(
    event: pg_sys::SubXactEvent::Type,
    ended: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    use pg_sys::SubXactEvent::{SUBXACT_EVENT_ABORT_SUB, SUBXACT_EVENT_COMMIT_SUB};
    if RESTORED_IN.get() != Some(ended) {
        return;
    }
    match event {
        SUBXACT_EVENT_ABORT_SUB => revoke(),
        SUBXACT_EVENT_COMMIT_SUB => RESTORED_IN.set(Some(parent)),
        _ => {}
    }
}

/// Whether the session began with a login.
pub fn has_login() -> bool {
    !STATE.login.get().is_null()
}

/// Restores the login before a statement that returns to it.
///
/// # Safety
///
/// The statement must be a complete utility statement.
pub unsafe fn before_utility(statement: *mut pg_sys::Node) {
    // SAFETY: by contract.
    if unsafe { returns_to_login(statement) } {
        restore();
    }
}

/// Whether a statement resets the identity: RESET, RESET ALL, SET ... TO DEFAULT, DISCARD ALL.
unsafe fn returns_to_login(statement: *mut pg_sys::Node) -> bool {
    use pg_sys::VariableSetKind::{VAR_RESET, VAR_RESET_ALL, VAR_SET_DEFAULT};
    // SAFETY: a node begins with its tag, which says what it is; the name of a setting is a C string.
    unsafe {
        match (*statement).type_ {
            pg_sys::NodeTag::T_DiscardStmt => {
                (*statement.cast::<pg_sys::DiscardStmt>()).target == pg_sys::DiscardMode::DISCARD_ALL
            }
            pg_sys::NodeTag::T_VariableSetStmt => {
                let set = &*statement.cast::<pg_sys::VariableSetStmt>();
                match set.kind {
                    VAR_RESET_ALL => true,
                    VAR_RESET | VAR_SET_DEFAULT => {
                        !set.is_local && CStr::from_ptr(set.name).to_bytes().eq_ignore_ascii_case(NAME.to_bytes())
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }
}
