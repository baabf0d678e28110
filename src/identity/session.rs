//! The identity of the session: one guarded setting, `pg_jwks.session`, and its only writer.
//!
//! The value is the verified claims as ASCII JSON. The check hook refuses every non-empty value that this module did
//! not set itself, so PostgreSQL's own machinery gives the rest: transactions, savepoints, SET LOCAL, RESET, DISCARD
//! and parallel workers treat the identity as they treat any setting.
//!
//! One thing that machinery does is unwanted: the rollback after a failed `jwt_session_init` restores the identity
//! before it. So each identity has a serial number, and a failure revokes all of them up to the present one, outside
//! of the transaction. A revoked value is erased where it stands, and when a rollback brings it back; what PostgreSQL
//! hands to parallel workers, whichever way they are started, is then an empty string.

#[cfg(feature = "pg18")]
mod login;

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::size_of;
use std::ptr;

use pg_jwks_core::claims::ClaimSet;
use pgrx::pg_sys;
use pgrx::prelude::PgSqlErrorCode;

use crate::pg::backend_local::BackendLocal;
use crate::pg::error::refuse_setting;
use crate::pg::setting;

#[cfg(feature = "pg18")]
pub use login::{before_utility, has_login, log_in};

const NAME: &CStr = c"pg_jwks.session";

/// What PostgreSQL keeps beside each value of the setting, and restores with it.
#[derive(Clone, Copy)]
struct Stamp {
    serial: u64,
    expires: i64,
    read_only: bool,
}

/// A value that is about to be assigned, and what its stamp is to say.
struct Pending {
    value: CString,
    expires: i64,
    read_only: bool,
}

struct State {
    /// The stamp of the identity in force; NULL without one.
    stamp: Cell<*const Stamp>,
    /// Identities up to this serial are gone, whatever a rollback restores.
    revoked: Cell<u64>,
    /// The serial of the newest identity.
    newest: Cell<u64>,
    /// The stamp of the login's identity; NULL without one.
    login: Cell<*const Stamp>,
    /// The serial of the login's identity, in place of the one in its stamp: it can be revoked and come back.
    login_serial: Cell<u64>,
}

impl State {
    fn serial(&self, stamp: &Stamp) -> u64 {
        match ptr::eq(stamp, self.login.get()) {
            true => self.login_serial.get(),
            false => stamp.serial,
        }
    }

    /// Whether the identity of a stamp is gone; that of NULL is not.
    fn is_revoked(&self, stamp: *const Stamp) -> bool {
        // SAFETY: NULL, or what the check hook made for a value that PostgreSQL still has.
        unsafe { stamp.as_ref() }.is_some_and(|stamp| self.serial(stamp) <= self.revoked.get())
    }
}

static STATE: BackendLocal<State> = BackendLocal::new(State {
    stamp: Cell::new(ptr::null()),
    revoked: Cell::new(0),
    newest: Cell::new(0),
    login: Cell::new(ptr::null()),
    login_serial: Cell::new(0),
});

thread_local! {
    /// The value that `set` is about to assign.
    static PENDING: RefCell<Option<Pending>> = const { RefCell::new(None) };
}

/// The variable of the setting. PostgreSQL alone writes it.
static VALUE: BackendLocal<Cell<*mut c_char>> = BackendLocal::new(Cell::new(ptr::null_mut()));

/// The identity in force.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Tells identities of this backend apart.
    pub serial: u64,
    /// `exp`, in microseconds since the Unix epoch.
    pub expires: i64,
}

/// The identity in force, if there is one. Whether it has expired is for the reader to check.
#[inline]
pub fn identity() -> Option<Identity> {
    // SAFETY: the assign hook sets the pointer to the `extra` block of the value in force, which PostgreSQL frees only
    // after it has assigned another one.
    let stamp = unsafe { STATE.stamp.get().as_ref() }?;
    Some(Identity { serial: STATE.serial(stamp), expires: stamp.expires })
}

/// Whether the identity in force must not write.
pub fn is_read_only() -> bool {
    // SAFETY: as in `identity`.
    unsafe { STATE.stamp.get().as_ref() }.is_some_and(|stamp| stamp.read_only)
}

/// Whether the identity in force is that of the login.
pub fn is_login() -> bool {
    !STATE.stamp.get().is_null() && STATE.stamp.get() == STATE.login.get()
}

/// A serial number that no identity has had.
pub fn next_serial() -> u64 {
    STATE.newest.set(STATE.newest.get() + 1);
    STATE.newest.get()
}

/// The claims of the identity in force, as ASCII JSON.
pub fn json() -> String {
    // SAFETY: the variable is NULL or a C string that stays until the next assignment.
    let value = unsafe { VALUE.get().as_ref().map(|first| CStr::from_ptr(first)) };
    value.map_or(String::new(), |value| value.to_string_lossy().into_owned())
}

/// Defines the setting.
pub fn define() {
    // SAFETY: the name and the variable are static, and the hooks neither raise nor unwind.
    unsafe {
        pg_sys::DefineCustomStringVariable(
            NAME.as_ptr(),
            c"The claims of the session's verified identity.".as_ptr(),
            c"Set by auth.jwt_session_init() only.".as_ptr(),
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

/// No identity up to the present one will be seen again, unless the guard is told that all went well. Whatever ends
/// the guard's scope, an error, a cancel or a panic included, the session fails closed.
#[must_use]
pub struct Attempt {
    revoked_before: u64,
}

/// Begins to set an identity: until [`Attempt::set`] the session has none.
pub fn attempt() -> Attempt {
    STATE.stamp.set(ptr::null());
    Attempt { revoked_before: STATE.revoked.replace(STATE.newest.get()) }
}

impl Attempt {
    /// Sets the identity, for the session or for the transaction, as `set_config` does.
    pub fn set(self, json: &str, expires: i64, read_only: bool, is_local: bool) {
        let Ok(value) = CString::new(json) else {
            unreachable!("JSON text has no NUL");
        };
        let _pending = pending(&value, expires, read_only);
        setting::assign(NAME, Some(&value), is_local);
        STATE.revoked.set(self.revoked_before);
        std::mem::forget(self);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // SAFETY: without an identity the value is NULL or empty, so a non-empty one is a copy that guc.c made for
        // `set`.
        unsafe { erase(VALUE.get()) };
    }
}

struct ClearPending;

impl Drop for ClearPending {
    fn drop(&mut self) {
        PENDING.set(None);
    }
}

/// Back to the identity that the session began with: none, or that of its login. An error leaves none.
pub fn clear() {
    let clearing = Clearing;
    #[cfg(feature = "pg18")]
    login::restore();
    setting::assign(NAME, None, false);
    std::mem::forget(clearing);
}

struct Clearing;

impl Drop for Clearing {
    fn drop(&mut self) {
        drop(attempt());
    }
}

/// While the result lives, the check hook lets this value pass.
fn pending(value: &CStr, expires: i64, read_only: bool) -> ClearPending {
    PENDING.set(Some(Pending { value: value.to_owned(), expires, read_only }));
    ClearPending
}

unsafe extern "C-unwind" fn check(
    value: *mut *mut c_char,
    extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a pointer to a C string or NULL, valid during the call.
    let Some(text) = (unsafe { (*value).as_ref().map(|first| CStr::from_ptr(first)) }) else {
        return true;
    };
    if text.is_empty() {
        return true;
    }
    let Some((expires, read_only)) = meaning_of_own_value(text) else {
        refuse_setting(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "parameter \"pg_jwks.session\" cannot be set directly",
            "It holds the verified claims of the session's identity.",
            "Call auth.jwt_session_init() with a token.",
        );
        return false;
    };
    let serial = next_serial();
    // SAFETY: `malloc_for_guc` returns NULL or a block of the size and alignment of any C type; PostgreSQL frees it.
    unsafe {
        let block = malloc_for_guc(size_of::<Stamp>()).cast::<Stamp>();
        if block.is_null() {
            return false;
        }
        block.write(Stamp { serial, expires, read_only });
        *extra = block.cast();
    }
    true
}

/// `exp` of a value, and whether it must not write, where this module is setting it, or a parallel worker, which never
/// writes, takes it over from its leader, where this module set it. `None` for any other value.
fn meaning_of_own_value(text: &CStr) -> Option<(i64, bool)> {
    let own = PENDING.with_borrow(|pending| match pending {
        Some(pending) if pending.value.as_c_str() == text => Some((pending.expires, pending.read_only)),
        _ => None,
    });
    // SAFETY: a plain read of a flag.
    if own.is_some() || unsafe { !pg_sys::InitializingParallelWorker } {
        return own;
    }
    let claims = ClaimSet::from_verified_json(text.to_str().ok()?)?;
    claims.expires().map(|expires| (expires.micros(), false))
}

/// Memory that guc.c may free.
unsafe fn malloc_for_guc(size: usize) -> *mut c_void {
    // SAFETY: guc.c frees `extra` with free() up to PostgreSQL 15 and with its own allocator from 16 on.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return libc::malloc(size);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::guc_malloc(pg_sys::LOG as i32, size);
    }
}

unsafe extern "C-unwind" fn assign(value: *const c_char, extra: *mut c_void) {
    let stamp: *const Stamp = extra.cast();
    let revoked = STATE.is_revoked(stamp);
    if revoked {
        // SAFETY: only values that the check hook let pass have a stamp, and those are copies that guc.c made.
        unsafe { erase(value.cast_mut()) };
    }
    STATE.stamp.set(if revoked { ptr::null() } else { stamp });
}

/// Makes a value of the setting the empty string, for all of PostgreSQL's references to it.
///
/// # Safety
///
/// The value must be NULL or a C string that guc.c allocated. It keeps neither its length nor a copy.
unsafe fn erase(value: *mut c_char) {
    // SAFETY: by contract; the terminating NUL stays.
    unsafe {
        if !value.is_null() {
            ptr::write_bytes(value, 0, CStr::from_ptr(value).count_bytes());
        }
    }
}
