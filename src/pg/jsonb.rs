//! Claims as values of type jsonb, made and read by PostgreSQL's own functions.

use std::ffi::{CStr, CString};

use pg_jwks_core::claims::ClaimSet;
use pgrx::prelude::*;
use pgrx::{IntoDatum, PgTryBuilder, direct_function_call_as_datum, pg_sys};

use super::datum::copied;
use super::encoding::{encoding, utf8};
use super::error::raise_not_representable;
use super::memory;

/// A JSON value that stays until this is dropped, in memory of the backend's.
pub struct Jsonb(pg_sys::Datum);

impl Jsonb {
    /// Raises 22P05 if the database cannot hold it.
    pub fn new(json: &str) -> Self {
        let parsed = Parsed::new(json);
        // SAFETY: a jsonb is a varlena; the context lives as long as the backend.
        Self(unsafe { copied(parsed.0, -1, pg_sys::TopMemoryContext) })
    }

    /// The value, for as long as this lives.
    pub fn datum(&self) -> pg_sys::Datum {
        self.0
    }

    /// A member as text (`->>`), in the current memory context; `None` if it is missing or JSON null.
    pub fn text(&self, name: &str) -> Option<pg_sys::Datum> {
        // SAFETY: the function takes a jsonb and a text, and of its call frame it uses the arguments only.
        unsafe { direct_function_call_as_datum(pg_sys::jsonb_object_field_text, &[Some(self.0), name.into_datum()]) }
    }

    /// A member (`->`), in the current memory context; `None` if it is missing.
    pub fn member(&self, name: &str) -> Option<pg_sys::Datum> {
        // SAFETY: the function takes a jsonb and a text, and of its call frame it uses the arguments only.
        unsafe { direct_function_call_as_datum(pg_sys::jsonb_object_field, &[Some(self.0), name.into_datum()]) }
    }

    /// What is at a path, a text[], as text (`#>>`), in the current memory context.
    pub fn text_at(&self, path: pg_sys::Datum) -> Option<pg_sys::Datum> {
        // SAFETY: the function takes a jsonb and a text[], and returns a text. Of its call frame it uses the arguments
        // only.
        unsafe { direct_function_call_as_datum(pg_sys::jsonb_extract_path_text, &[Some(self.0), Some(path)]) }
    }
}

/// The text of a jsonb, in UTF-8; `None` if it is not UTF-8 where the database has no encoding.
///
/// # Safety
///
/// The datum must be a jsonb.
pub unsafe fn text(jsonb: pg_sys::Datum) -> Option<String> {
    // SAFETY: the function takes a jsonb, and returns a C string in the current memory context, which is copied.
    unsafe {
        let text = direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(jsonb)])?;
        utf8(CStr::from_ptr(text.cast_mut_ptr()).to_bytes()).map(|text| text.into_owned())
    }
}

impl Drop for Jsonb {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it, in a context that stays.
        unsafe { pg_sys::pfree(self.0.cast_mut_ptr()) };
    }
}

/// Raises 22P05 if the database cannot hold a JSON object in ASCII, of which these are the claims. Without `\u`, and with
/// numbers of 64 bits, each database holds any that the library has read.
pub fn check_representable(json: &str, claims: &ClaimSet) {
    if json.contains("\\u") || !claims.have_whole_numbers() {
        drop(Parsed::new(json));
    }
}

/// A value in the current memory context, which must outlive this.
struct Parsed(pg_sys::Datum);

impl Parsed {
    fn new(json: &str) -> Self {
        memory::require(json.len());
        let Ok(text) = CString::new(json) else { unreachable!("JSON text has no NUL") };
        let argument = Some(pg_sys::Datum::from(text.as_ptr()));
        // PostgreSQL's own message would quote the claims.
        PgTryBuilder::new(|| {
            // SAFETY: the function takes one C string, which outlives the call, and of its call frame it uses the
            // arguments only.
            unsafe { direct_function_call_as_datum(pg_sys::jsonb_in, &[argument]) }
        })
        .catch_others(|error| match error {
            pg_sys::panic::CaughtError::PostgresError(ref report) if is_data_error(report.sql_error_code()) => {
                raise_not_representable(&encoding())
            }
            other => other.rethrow(),
        })
        .execute()
        .map_or_else(|| unreachable!("jsonb_in is strict and its argument is not NULL"), Self)
    }
}

impl Drop for Parsed {
    fn drop(&mut self) {
        // SAFETY: `new` has it from a function that returns memory of its own.
        unsafe { pg_sys::pfree(self.0.cast_mut_ptr()) };
    }
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
