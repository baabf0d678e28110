//! Configured values that PostgreSQL could not apply when the library was loaded.
//!
//! Until then anybody may set anything under these names, PGOPTIONS overriding configuration files. What turns out to
//! be nonsense, or not the user's to set, is dropped with a warning, and the default is in force: a laxer value, as a
//! rule, than the administrator meant. So nothing may be verified while such a default is in force.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::backend_local::BackendLocal;

/// Their names.
static UNAPPLIED: BackendLocal<RefCell<Vec<String>>> = BackendLocal::new(RefCell::new(Vec::new()));

/// Calls `define`, which defines settings, and remembers which of them had a value that could not be applied.
pub fn watch(define: impl FnOnce()) {
    let configured = names(|setting| setting.reset_source != pg_sys::GucSource::PGC_S_DEFAULT);
    define();
    let mut dropped = names(|setting| setting.reset_source == pg_sys::GucSource::PGC_S_DEFAULT);
    dropped.retain(|name| configured.contains(name));
    UNAPPLIED.replace(dropped);
}

/// A setting whose default is in force in place of the value that was meant.
pub fn unapplied() -> Option<String> {
    let unapplied = UNAPPLIED.borrow();
    if unapplied.is_empty() {
        return None;
    }
    let defaults = names(|setting| setting.source == pg_sys::GucSource::PGC_S_DEFAULT);
    unapplied.iter().find(|name| defaults.contains(name)).cloned()
}

/// The settings `pg_jwks.*` that `choose` chooses.
fn names(choose: impl Fn(&pg_sys::config_generic) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    each(|setting| {
        // SAFETY: guc.c gives each setting a name, a C string that lives as long as the setting.
        let name = unsafe { CStr::from_ptr(setting.name) };
        // PostgreSQL ignores the case of names, and until they are defined keeps them as somebody spelt them first.
        let name = name.to_string_lossy().to_ascii_lowercase();
        if name.starts_with("pg_jwks.") && choose(setting) {
            names.push(name);
        }
    });
    names
}

#[cfg(any(feature = "pg14", feature = "pg15"))]
fn each(mut visit: impl FnMut(&pg_sys::config_generic)) {
    // SAFETY: guc.c's array has this many pointers to settings. No setting is defined or dropped while `visit` looks at
    // one.
    unsafe {
        let variables = pg_sys::get_guc_variables();
        for index in 0..usize::try_from(pg_sys::GetNumConfigOptions()).unwrap_or(0) {
            visit(&**variables.add(index));
        }
    }
}

#[cfg(not(any(feature = "pg14", feature = "pg15")))]
fn each(mut visit: impl FnMut(&pg_sys::config_generic)) {
    // SAFETY: guc.c makes an array of this many pointers to settings, and leaves the array to its caller. No setting is
    // defined or dropped while `visit` looks at one.
    unsafe {
        let mut count = 0;
        let variables = pg_sys::get_guc_variables(&mut count);
        for index in 0..usize::try_from(count).unwrap_or(0) {
            visit(&**variables.add(index));
        }
        pg_sys::pfree(variables.cast());
    }
}
