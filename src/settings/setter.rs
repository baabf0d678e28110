//! Who has set `pg_jwks.tenant_lookup`, as far as PostgreSQL remembers it.

#[cfg(not(feature = "pg14"))]
use std::cell::Cell;

use pgrx::pg_sys;

#[cfg(not(feature = "pg14"))]
use super::records::{each, name};
#[cfg(not(feature = "pg14"))]
use crate::pg::backend_local::BackendLocal;
#[cfg(not(feature = "pg14"))]
use crate::pg::datum::text_datum;
#[cfg(not(feature = "pg14"))]
use crate::pg::privilege::database_owner;

/// The role that must be able to read the membership table itself, as it may be the one that has named it; `None` if a
/// superuser has, or nobody.
///
/// A session's own SET tells the role. ALTER DATABASE and ALTER ROLE do not, so if anybody has been granted the setting,
/// the database's owner answers for the one and the role that logged in for the other: whoever else can use these
/// statements has their rights, or can have them.
#[cfg(not(feature = "pg14"))]
pub fn answerable_for_tenant_lookup() -> Option<pg_sys::Oid> {
    use pg_sys::GucSource::{PGC_S_DATABASE, PGC_S_DATABASE_USER, PGC_S_GLOBAL, PGC_S_USER};
    let setting = record()?;
    match setting.source {
        PGC_S_DATABASE => is_granted().then(database_owner)?,
        // SAFETY: reads a variable, which is set in every backend that runs SQL.
        PGC_S_USER | PGC_S_DATABASE_USER => is_granted().then(|| unsafe { pg_sys::GetAuthenticatedUserId() }),
        source if source <= PGC_S_GLOBAL => None,
        _ => Some(setting.srole),
    }
}

/// Before PostgreSQL 15 only superusers set it.
#[cfg(feature = "pg14")]
pub fn answerable_for_tenant_lookup() -> Option<pg_sys::Oid> {
    None
}

#[cfg(not(feature = "pg14"))]
const NAME: &str = "pg_jwks.tenant_lookup";

/// PostgreSQL's record of the setting; `None` until it is defined.
#[cfg(not(feature = "pg14"))]
fn record() -> Option<&'static pg_sys::config_generic> {
    static RECORD: BackendLocal<Cell<*const pg_sys::config_generic>> = BackendLocal::new(Cell::new(std::ptr::null()));
    if RECORD.get().is_null() {
        each(|setting| {
            if name(setting) == NAME {
                RECORD.set(setting);
            }
        });
    }
    // SAFETY: NULL, or a record that guc.c keeps as long as the process lives, since this library has defined the setting.
    // It changes only when a setting is assigned, and nobody keeps the reference until then.
    unsafe { RECORD.get().as_ref() }
}

/// Whether anybody has been granted SET or ALTER SYSTEM on the setting: then, and only then, it has an entry.
#[cfg(not(feature = "pg14"))]
fn is_granted() -> bool {
    let none = pg_sys::Datum::null();
    // SAFETY: the key of the cache is the name as text.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PARAMETERACLNAME as i32;
        pg_sys::SearchSysCacheExists(cache, text_datum(NAME.as_bytes()), none, none, none)
    }
}
