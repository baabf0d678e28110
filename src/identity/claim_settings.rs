//! Session variables that show claims to policies written for `current_setting()` (`pg_jwks.claim_settings`).
//!
//! They hold nothing: a show hook computes each from the identity in force, so they change with it, and since they are
//! PostgreSQL's internal settings nobody can set them.

use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_char};
use std::ptr;

use pg_jwks_core::policy::claim_settings::{ClaimVariable, MAX_VARIABLES, Shown};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::pgrx_extern_c_guard;

use super::derived::with_derived;
use super::session;
use super::standing::standing_verified_identity;
use crate::pg::backend_local::BackendLocal;
use crate::pg::encoding::server_text;
use crate::pg::error;
use crate::pg::process::{is_preloading, is_starting_parallel_worker};
use crate::settings;

/// What a variable showed last, for the identity of this serial.
struct LastShown {
    serial: u64,
    text: CString,
}

static VARIABLES: BackendLocal<RefCell<Vec<ClaimVariable>>> = BackendLocal::new(RefCell::new(Vec::new()));
static LAST_SHOWN: BackendLocal<RefCell<[Option<LastShown>; MAX_VARIABLES]>> =
    BackendLocal::new(RefCell::new([const { None }; MAX_VARIABLES]));

/// What PostgreSQL wants to write values to; they stay empty.
static UNUSED: BackendLocal<[Cell<*mut c_char>; MAX_VARIABLES]> =
    BackendLocal::new([const { Cell::new(ptr::null_mut()) }; MAX_VARIABLES]);

/// Defines the variables if the library is preloaded. Elsewhere a session could set them before it is loaded, so
/// then they are not defined, with a WARNING.
pub fn define() {
    let variables = settings::claim_variables();
    if !is_preloading() {
        if !variables.is_empty() && !is_starting_parallel_worker() {
            warn_claim_settings_without_preloading();
        }
        return;
    }
    for (slot, variable) in variables.iter().enumerate() {
        let Ok(name) = CString::new(variable.name.as_str()) else { unreachable!("checked when it was set") };
        // SAFETY: the name is leaked, the other texts and the variable are static, and the hook reports errors as
        // PostgreSQL's.
        unsafe {
            pg_sys::DefineCustomStringVariable(
                name.into_raw(),
                c"Shows the session's verified identity.".as_ptr(),
                c"Defined by pg_jwks.claim_settings.".as_ptr(),
                UNUSED[slot].as_ptr(),
                c"".as_ptr(),
                pg_sys::GucContext::PGC_INTERNAL,
                (pg_sys::GUC_NO_SHOW_ALL | pg_sys::GUC_NOT_IN_SAMPLE | pg_sys::GUC_DISALLOW_IN_FILE) as i32,
                None,
                None,
                Some(SHOW_HOOKS[slot]),
            );
        }
    }
    VARIABLES.set(variables);
}

type ShowHook = unsafe extern "C-unwind" fn() -> *const c_char;

/// A show hook is not told which setting it shows, so each variable has one of its own.
macro_rules! show_hooks {
    ($($slot:literal)*) => { [$(show::<$slot>),*] };
}

const SHOW_HOOKS: [ShowHook; MAX_VARIABLES] =
    show_hooks!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);

/// # Safety
///
/// guc.c must call this as the show hook of the variable in this slot.
unsafe extern "C-unwind" fn show<const SLOT: usize>() -> *const c_char {
    // SAFETY: the guard turns a panic into an ERROR of PostgreSQL's, which expects one from where settings are shown.
    unsafe { pgrx_extern_c_guard(|| shown(SLOT)) }
}

/// The variable's text, empty without identity. It stays until the variable is shown for another identity; PostgreSQL
/// copies it at once. Raises 28000 if it does not stand any more.
fn shown(slot: usize) -> *const c_char {
    let Some(identity) = standing_verified_identity() else { return c"".as_ptr() };
    let known = LAST_SHOWN.with_borrow(|texts| {
        texts[slot].as_ref().filter(|text| text.serial == identity.serial).map(|text| text.text.as_ptr())
    });
    known.unwrap_or_else(|| {
        let shown = VARIABLES.with_borrow(|variables| variables[slot].shown.clone());
        let text = match shown {
            Shown::AllClaims => CString::new(session::json()).unwrap_or_default(),
            Shown::Claim(path) => {
                let text = with_derived(identity, |derived| derived.claims.text_at(&path, &session::json()));
                server_text(&text.unwrap_or_default())
            }
        };
        LAST_SHOWN
            .with_borrow_mut(|texts| texts[slot].insert(LastShown { serial: identity.serial, text }).text.as_ptr())
    })
}

/// Warns that session variables for claims are not defined.
fn warn_claim_settings_without_preloading() {
    error::warn(
        "pg_jwks.claim_settings has no effect",
        "The library is not preloaded, so a session could set these variables before it is loaded.",
        "Add pg_jwks to shared_preload_libraries and restart the server.",
    );
}
