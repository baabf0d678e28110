//! What the readers return: the identity's claims in PostgreSQL's types, made once for each identity.

use std::cell::RefCell;
use std::ffi::CString;
use std::rc::Rc;

use pg_jwks_core::claims::ClaimSet;
use pgrx::prelude::*;
use pgrx::{PgTryBuilder, direct_function_call_as_datum, pg_sys};

use super::request_claims;
use super::session::{self, Identity};
use crate::pg::backend_local::BackendLocal;
use crate::pg::datum::copied;
use crate::pg::encoding::encoding;
use crate::pg::error::raise_not_representable;

/// The claims in PostgreSQL's types. The datums live until another identity is read.
pub struct Derived {
    serial: u64,
    /// All claims.
    pub jsonb: pg_sys::Datum,
    /// The claims for the core's readers.
    pub claims: Rc<ClaimSet>,
}

static DERIVED: BackendLocal<RefCell<Option<Derived>>> = BackendLocal::new(RefCell::new(None));

/// Calls `read` with the claims of `identity`, which must be the one that readers see. Raises 22P05 if the database
/// cannot hold them.
pub fn with_derived<T>(identity: Identity, read: impl FnOnce(&Derived) -> T) -> T {
    let known = DERIVED.with_borrow(|derived| derived.as_ref().is_some_and(|known| known.serial == identity.serial));
    if !known {
        derive(identity.serial, &request_claims::json_of(identity).unwrap_or_else(session::json));
    }
    DERIVED.with_borrow(|derived| match derived {
        Some(derived) => read(derived),
        None => unreachable!("derived above"),
    })
}

/// The claims as jsonb in the current memory context. Raises 22P05 if the database cannot hold them.
fn jsonb_from(json: &str) -> pg_sys::Datum {
    let Ok(text) = CString::new(json) else { unreachable!("JSON text has no NUL") };
    let argument = Some(pg_sys::Datum::from(text.as_ptr()));
    // PostgreSQL's own message would quote the claims.
    PgTryBuilder::new(|| {
        // SAFETY: jsonb_in takes one C string, which outlives the call, and of its call frame it uses the arguments only.
        unsafe { direct_function_call_as_datum(pg_sys::jsonb_in, &[argument]) }
    })
    .catch_others(|error| match error {
        pg_sys::panic::CaughtError::PostgresError(ref report) if is_data_error(report.sql_error_code()) => {
            raise_not_representable(&encoding())
        }
        other => other.rethrow(),
    })
    .execute()
    .unwrap_or_else(|| unreachable!("jsonb_in is strict and its argument is not NULL"))
}

/// Raises 22P05 if the database cannot hold the claims: at the login, not at the first read.
pub fn check_representable(json: &str) {
    let jsonb = jsonb_from(json);
    // SAFETY: the value was just allocated, and nothing points to it.
    unsafe { pg_sys::pfree(jsonb.cast_mut_ptr()) };
}

fn is_data_error(sqlstate: PgSqlErrorCode) -> bool {
    matches!(
        sqlstate,
        PgSqlErrorCode::ERRCODE_UNTRANSLATABLE_CHARACTER
            | PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE
            | PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED
            | PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION
            | PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE
            | PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED
            | PgSqlErrorCode::ERRCODE_STATEMENT_TOO_COMPLEX
    )
}

fn derive(serial: u64, json: &str) {
    let Some(claims) = ClaimSet::from_verified_json(json) else {
        unreachable!("the check hook lets verified claims pass only")
    };
    let fresh = jsonb_from(json);
    // SAFETY: the copy goes to a context that lives as long as the backend. The one it replaces was made so too, and is
    // freed: `with_derived` shows it during a call only, and a call site keeps a copy of its own.
    unsafe {
        let jsonb = copied(fresh, -1, pg_sys::TopMemoryContext);
        pg_sys::pfree(fresh.cast_mut_ptr());
        if let Some(old) = DERIVED.replace(Some(Derived { serial, jsonb, claims: Rc::new(claims) })) {
            pg_sys::pfree(old.jsonb.cast_mut_ptr());
        }
    }
}
