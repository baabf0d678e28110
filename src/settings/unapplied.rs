//! Configured values that PostgreSQL could not apply when the library was loaded.
//!
//! Until then anybody may set anything under these names, PGOPTIONS overriding configuration files. What turns out to
//! be nonsense, or not the user's to set, is dropped with a warning, and the default is in force: a laxer value, as a
//! rule, than the administrator meant. So nothing may be verified while such a default is in force.

use std::cell::RefCell;

use pgrx::pg_sys;

use super::records::{self, each};
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
        let name = records::name(setting);
        if name.starts_with("pg_jwks.") && choose(setting) {
            names.push(name);
        }
    });
    names
}
