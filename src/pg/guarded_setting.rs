//! A setting to which its own module alone gives values. PostgreSQL's machinery gives the rest: transactions,
//! savepoints, SET LOCAL, RESET, DISCARD and parallel workers treat it as they treat any setting.
//!
//! The check hook refuses every value but the empty one, the one that is being assigned here, and, in a parallel worker
//! that starts, what its leader has.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::size_of;
use std::ptr;
use std::sync::Arc;

use pgrx::pg_sys;
use pgrx::prelude::PgSqlErrorCode;

use super::backend_local::BackendLocal;
use super::error::refuse_setting;
use super::process::is_starting_parallel_worker;
use super::setting;

/// What a guarded setting is, and what is done with its values.
pub trait Guard: Sized + 'static {
    /// The setting's name.
    const NAME: &'static CStr;
    /// What the setting holds, in a sentence.
    const DESCRIPTION: &'static CStr;
    /// Who sets it, in a sentence.
    const LONG_DESCRIPTION: &'static CStr;
    /// The detail and the hint for who sets it by hand.
    const REFUSAL: [&'static str; 2];

    /// What PostgreSQL keeps beside each value (`extra` in guc.h), and restores with it.
    type Extra: Copy;

    /// The one setting of this kind.
    fn setting() -> &'static GuardedSetting<Self>;

    /// What belongs to a value that a parallel worker takes over from its leader, in which this module has set it. `None`
    /// refuses it.
    fn from_leader(value: &CStr) -> Option<Self::Extra>;

    /// PostgreSQL puts a value into force, for the first time or again; `None` is the empty one. Returns whether it may
    /// stand: otherwise its text is erased wherever PostgreSQL keeps it. Must not raise.
    fn assigned(extra: Option<Self::Extra>) -> bool;
}

/// A setting whose values are guarded.
pub struct GuardedSetting<G: Guard> {
    /// The variable of the setting. PostgreSQL alone writes it: NULL, or a C string that guc.c allocated.
    value: Cell<*mut c_char>,
    /// What belongs to the value in force.
    extra: Cell<Option<G::Extra>>,
    /// The value that is being assigned.
    pending: RefCell<Option<(Arc<CStr>, G::Extra)>>,
}

impl<G: Guard> GuardedSetting<G> {
    /// A setting to be defined.
    pub const fn new() -> BackendLocal<Self> {
        BackendLocal::new(Self {
            value: Cell::new(ptr::null_mut()),
            extra: Cell::new(None),
            pending: RefCell::new(None),
        })
    }

    /// Defines the setting, when the library is loaded.
    pub fn define(&'static self) {
        // SAFETY: the texts and the variable are static, and the hooks neither raise nor unwind.
        unsafe {
            pg_sys::DefineCustomStringVariable(
                G::NAME.as_ptr(),
                G::DESCRIPTION.as_ptr(),
                G::LONG_DESCRIPTION.as_ptr(),
                self.value.as_ptr(),
                ptr::null(),
                pg_sys::GucContext::PGC_USERSET,
                (pg_sys::GUC_NO_SHOW_ALL | pg_sys::GUC_NOT_IN_SAMPLE | pg_sys::GUC_DISALLOW_IN_FILE) as i32,
                Some(check::<G>),
                Some(assign::<G>),
                None,
            );
        }
    }

    /// A copy of the value in force; `None` before the first one.
    pub fn value(&self) -> Option<CString> {
        // SAFETY: the variable is NULL or a C string that stays until the next assignment.
        unsafe { self.value.get().as_ref().map(|first| CStr::from_ptr(first).to_owned()) }
    }

    /// What belongs to the value in force; `None` without a value.
    pub fn extra(&self) -> Option<G::Extra> {
        self.extra.get()
    }

    /// Sets a value, for the session or for the transaction, as `set_config` does.
    pub fn assign(&self, value: &Arc<CStr>, extra: G::Extra, is_local: bool) {
        self.while_pending(value, extra, |value| setting::assign(G::NAME, Some(value), is_local));
    }

    /// Sets the empty value, for the session or for the transaction.
    pub fn clear(&self, is_local: bool) {
        setting::assign(G::NAME, Some(c""), is_local);
    }

    /// Goes back to the value with which the session began.
    pub fn reset(&self) {
        setting::assign(G::NAME, None, false);
    }

    /// Sets the value with which the session begins. To be called once at most.
    pub fn assign_for_good(&self, value: &Arc<CStr>, extra: G::Extra) -> ResetValue {
        self.while_pending(value, extra, |value| setting::assign_for_good(G::NAME, value));
        ResetValue { kept: self.value.get(), text: value.clone() }
    }

    /// Makes the value in force the empty string, for all of PostgreSQL's references to it.
    pub fn erase(&self) {
        // SAFETY: guc.c allocated what is not NULL.
        unsafe { erase(self.value.get()) };
    }

    /// Calls `assign` while the check hook lets this value pass.
    fn while_pending(&self, value: &Arc<CStr>, extra: G::Extra, assign: impl FnOnce(&CStr)) {
        self.pending.replace(Some((value.clone(), extra)));
        // Whatever ends this scope, an error included, nothing passes any more.
        scopeguard::defer! {
            self.pending.replace(None);
        }
        assign(value);
    }

    /// What belongs to a value that may pass.
    fn extra_of(&self, value: &CStr) -> Option<G::Extra> {
        let pending = self.pending.borrow();
        let own = pending.as_ref().filter(|(pending, _)| **pending == *value).map(|(_, extra)| *extra);
        match own.is_none() && is_starting_parallel_worker() {
            true => G::from_leader(value),
            false => own,
        }
    }
}

/// The value with which the session began, and to which RESET returns.
pub struct ResetValue {
    /// PostgreSQL's copy, which stays: nothing gives the setting another reset value.
    kept: *mut c_char,
    text: Arc<CStr>,
}

impl ResetValue {
    /// Makes it the empty string, for all of PostgreSQL's references to it.
    pub fn erase(&self) {
        // SAFETY: guc.c allocated it.
        unsafe { erase(self.kept) };
    }

    /// Undoes [`ResetValue::erase`].
    pub fn restore(&self) {
        // SAFETY: PostgreSQL's copy is as long as the text, and an erased one keeps its room.
        unsafe { ptr::copy_nonoverlapping(self.text.as_ptr(), self.kept, self.text.count_bytes() + 1) };
    }
}

/// # Safety
///
/// guc.c must call this as a check hook of the setting of `G`.
unsafe extern "C-unwind" fn check<G: Guard>(
    value: *mut *mut c_char,
    extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: guc.c passes a pointer to a C string or NULL, valid during the call.
    let text = unsafe { (*value).as_ref().map(|first| CStr::from_ptr(first)) };
    let Some(text) = text.filter(|text| !text.is_empty()) else { return true };
    let Some(of_value) = G::setting().extra_of(text) else {
        let message = format!("parameter \"{}\" cannot be set directly", G::NAME.to_string_lossy());
        let [detail, hint] = G::REFUSAL;
        refuse_setting(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, &message, detail, hint);
        return false;
    };
    // SAFETY: `malloc_for_guc` returns NULL or a block of the size and alignment of any C type; PostgreSQL frees it.
    unsafe {
        let block = malloc_for_guc(size_of::<G::Extra>().max(1)).cast::<G::Extra>();
        if block.is_null() {
            return false;
        }
        block.write(of_value);
        *extra = block.cast();
    }
    true
}

/// # Safety
///
/// guc.c must call this as an assign hook of the setting of `G`.
unsafe extern "C-unwind" fn assign<G: Guard>(value: *const c_char, extra: *mut c_void) {
    // SAFETY: NULL, or what `check` made for this value.
    let extra = unsafe { extra.cast::<G::Extra>().as_ref() }.copied();
    G::setting().extra.set(extra);
    if !G::assigned(extra) {
        // SAFETY: NULL, or a string that guc.c allocated, as the setting has no default of another kind.
        unsafe { erase(value.cast_mut()) };
    }
}

/// Memory that guc.c may free; NULL if there is none.
fn malloc_for_guc(size: usize) -> *mut c_void {
    // SAFETY: guc.c frees `extra` with free() up to PostgreSQL 15 and with its own allocator from 16 on.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        return libc::malloc(size);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        return pg_sys::guc_malloc(pg_sys::LOG as i32, size);
    }
}

/// Makes a value of a setting the empty string, for all of PostgreSQL's references to it.
///
/// # Safety
///
/// The value must be NULL or a C string that guc.c allocated: it keeps neither its length nor a copy.
unsafe fn erase(value: *mut c_char) {
    // SAFETY: the caller promises a C string that can be written to. Its terminating NUL stays.
    unsafe {
        if !value.is_null() {
            ptr::write_bytes(value, 0, CStr::from_ptr(value).count_bytes());
        }
    }
}
