//! Whether identities that were assumed still stand: as long as the role that assumed them may execute
//! `auth.assume_identity`.

use std::cell::Cell;

use pg_jwks_core::rejection::{Reason, Rejection};
use pgrx::pg_sys;
use pgrx::pg_sys::SysCacheIdentifier::{AUTHMEMROLEMEM, AUTHOID, PROCOID};

use super::session::Privilege;
use crate::pg::backend_local::BackendLocal;
use crate::pg::privilege::may_execute;

/// How often privileges to execute functions may have changed.
static GENERATION: BackendLocal<Cell<u64>> = BackendLocal::new(Cell::new(0));

/// Whether this backend is told of such changes.
static WATCHING: BackendLocal<Cell<bool>> = BackendLocal::new(Cell::new(false));

/// Another number after each change of privileges that could concern an identity that was assumed. It never falls.
#[inline]
pub fn generation() -> u64 {
    GENERATION.get()
}

/// Asks, once in a backend, to be told of changes to functions, roles and memberships. To be called before an identity is
/// assumed.
pub fn watch() {
    if WATCHING.replace(true) {
        return;
    }
    for cache in [PROCOID, AUTHOID, AUTHMEMROLEMEM] {
        // SAFETY: the callback sets a variable, and neither raises nor unwinds.
        unsafe { pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(changed), pg_sys::Datum::null()) };
    }
}

extern "C-unwind" fn changed(_: pg_sys::Datum, _cache: i32, _hash: u32) {
    GENERATION.set(GENERATION.get().wrapping_add(1));
}

/// Whether the privilege is still there. Reads the catalogue; raises if it cannot be read.
pub fn check(privilege: Privilege) -> Result<(), Rejection> {
    match may_execute(privilege.role, privilege.function) {
        true => Ok(()),
        false => Err(Rejection::new(
            Reason::AssumptionRevoked,
            "The role that assumed the identity may not execute auth.assume_identity() any more.",
        )),
    }
}
