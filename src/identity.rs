//! What the readers return: the identity's claims in PostgreSQL's types, made once for each identity.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::ptr;
use std::rc::Rc;

use pg_jwks_core::claims::ClaimSet;
use pgrx::prelude::*;
use pgrx::{PgTryBuilder, direct_function_call_as_datum, pg_sys};

use crate::session::{self, Identity};
use crate::{report, request_claims};

/// The claims in PostgreSQL's types. The datums live until another identity is read.
pub struct Derived {
    serial: u64,
    /// All claims.
    pub jsonb: pg_sys::Datum,
    /// The claims for the core's readers.
    pub claims: Rc<ClaimSet>,
}

thread_local! {
    static DERIVED: RefCell<Option<Derived>> = const { RefCell::new(None) };
}

/// Calls `read` with the claims of `identity`, which must be the one that readers see. Raises 22P05 where the database cannot
/// hold them.
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

/// The claims as jsonb in the current memory context. Raises 22P05 where the database cannot hold them.
fn jsonb_from(json: &str) -> pg_sys::Datum {
    let Ok(text) = CString::new(json) else { unreachable!("JSON text has no NUL") };
    let argument = Some(pg_sys::Datum::from(text.as_ptr()));
    // PostgreSQL's own message would quote the claims.
    PgTryBuilder::new(|| {
        // SAFETY: jsonb_in takes one C string, which outlives the call.
        unsafe { direct_function_call_as_datum(pg_sys::jsonb_in, &[argument]) }
    })
    .catch_others(|error| match error {
        pg_sys::panic::CaughtError::PostgresError(ref report) if is_data_error(report.sql_error_code()) => {
            report::raise_not_representable(&encoding())
        }
        other => other.rethrow(),
    })
    .execute()
    .unwrap_or_else(|| unreachable!("jsonb_in is strict and its argument is not NULL"))
}

/// Raises 22P05 where the database cannot hold the claims: at the login, not at the first read.
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

fn encoding() -> String {
    // SAFETY: the name of the database encoding is a static C string.
    unsafe { CStr::from_ptr(pg_sys::GetDatabaseEncodingName()) }.to_string_lossy().into_owned()
}

/// Text of the database as UTF-8, to compare with claims; `None` where no claim can be equal to it.
pub fn utf8(text: &[u8]) -> Option<Cow<'_, str>> {
    // SAFETY: reads a variable.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() } as pg_sys::pg_enc::Type;
    if text.is_ascii() || matches!(encoding, pg_sys::pg_enc::PG_UTF8 | pg_sys::pg_enc::PG_SQL_ASCII) {
        return std::str::from_utf8(text).ok().map(Cow::Borrowed);
    }
    let length = i32::try_from(text.len()).ok()?;
    // SAFETY: the text has this length, and is not empty, so that the result is a new C string in the current context.
    let converted = unsafe {
        CStr::from_ptr(pg_sys::pg_server_to_any(text.as_ptr().cast(), length, pg_sys::pg_enc::PG_UTF8 as i32))
    };
    converted.to_str().ok().map(|text| Cow::Owned(text.to_owned()))
}

/// Text of a claim in the database's encoding, which can hold it (see [`check_representable`]).
pub fn server_encoded(text: &str) -> Vec<u8> {
    let Ok(length) = i32::try_from(text.len()) else { unreachable!("a token is smaller") };
    if text.is_ascii() {
        return text.into();
    }
    // SAFETY: the text has this length, and is not empty. The result is the text itself where nothing is to convert,
    // and then has no NUL, or a new C string in the current context.
    unsafe {
        let from = text.as_ptr().cast();
        let converted = pg_sys::pg_any_to_server(from, length, pg_sys::pg_enc::PG_UTF8 as i32);
        match ptr::eq(converted, from) {
            true => text.into(),
            false => CStr::from_ptr(converted).to_bytes().into(),
        }
    }
}

/// The same as a C string.
pub fn server_text(text: &str) -> CString {
    CString::new(server_encoded(text)).unwrap_or_else(|_| report::raise_not_representable(&encoding()))
}

fn derive(serial: u64, json: &str) {
    let Some(claims) = ClaimSet::from_verified_json(json) else {
        unreachable!("the check hook lets verified claims pass only")
    };
    let fresh = jsonb_from(json);
    // SAFETY: the copy goes to a context that lives as long as the backend, and the one it replaces is freed; no reader
    // keeps a pointer to it (see `readers`).
    unsafe {
        let jsonb = copied(fresh, -1, pg_sys::TopMemoryContext);
        pg_sys::pfree(fresh.cast_mut_ptr());
        if let Some(old) = DERIVED.replace(Some(Derived { serial, jsonb, claims: Rc::new(claims) })) {
            pg_sys::pfree(old.jsonb.cast_mut_ptr());
        }
    }
}

/// The bytes of a by-reference datum; `length` is its type's, -1 for a varlena.
///
/// # Safety
///
/// The datum must point to a value of that length, which must outlive the slice.
pub unsafe fn bytes<'a>(datum: pg_sys::Datum, length: i32) -> &'a [u8] {
    let from: *const u8 = datum.cast_mut_ptr();
    // SAFETY: by contract the value has this length.
    unsafe {
        let size = usize::try_from(length).unwrap_or_else(|_| pgrx::varsize_any(from.cast()));
        std::slice::from_raw_parts(from, size)
    }
}

/// A copy of a by-reference datum in `context`; `length` is its type's, -1 for a varlena.
///
/// # Safety
///
/// The datum must point to a value of that length.
pub unsafe fn copied(datum: pg_sys::Datum, length: i32, context: pg_sys::MemoryContext) -> pg_sys::Datum {
    // SAFETY: by contract the value has this length, and the new block is as large.
    unsafe {
        let from = bytes(datum, length);
        let to = pg_sys::MemoryContextAlloc(context, from.len()).cast::<u8>();
        ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        pg_sys::Datum::from(to)
    }
}
