//! Errors as PostgreSQL raises and reports them, and rejections of the core among them.

use std::ffi::{CString, c_char};

use pg_jwks_core::rejection::{Class, Rejection};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::user::may_know_settings;

/// Raises a rejection: 22023 for a malformed token, 28000 for one that is not accepted, 55000 if the server lacks
/// a setting or keys. The values of settings are told to those who may know them.
pub fn raise_rejection(rejection: Rejection) -> ! {
    let rejection = match may_know_settings() {
        true => rejection,
        false => rejection.without_settings(),
    };
    let sqlstate = match rejection.reason.class() {
        Class::Malformed => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        Class::Rejected => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        Class::Unavailable => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
    };
    raise(sqlstate, format!("JWT rejected: {}", rejection.reason.text()), rejection.detail, rejection.hint)
}

/// Raises 22P05 for claims that the database cannot hold.
pub fn raise_not_representable(encoding: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_UNTRANSLATABLE_CHARACTER,
        "JWT rejected: claim not representable".into(),
        format!("A claim cannot be stored as jsonb in a database of encoding {encoding}."),
        Some("Use a database of encoding UTF8, and claims without \\u0000 and without numbers beyond numeric.".into()),
    )
}

/// Raises 39P01 for a trigger function that is called as another one.
pub fn raise_not_a_trigger(function: &str) -> ! {
    raise(
        PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        format!("function {function} was not called by trigger manager"),
        "It is a trigger function.".into(),
        None,
    )
}

/// Raises an ERROR. Detail and hint are full sentences.
pub fn raise(sqlstate: PgSqlErrorCode, message: String, detail: String, hint: Option<String>) -> ! {
    raise_at(PgLogLevel::ERROR, sqlstate, message, detail, hint)
}

/// Raises an ERROR or a FATAL.
pub fn raise_at(
    level: PgLogLevel,
    sqlstate: PgSqlErrorCode,
    message: String,
    detail: String,
    hint: Option<String>,
) -> ! {
    let mut report = ErrorReport::new(sqlstate, message, "pg_jwks").set_detail(detail);
    if let Some(hint) = hint {
        report = report.set_hint(hint);
    }
    report.report(level);
    unreachable!("neither an ERROR nor a FATAL returns")
}

/// Warns. Detail and hint are full sentences. While a login is decided, the server's log alone has it.
pub fn warn(message: &'static str, detail: &str, hint: &str) {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, message, "pg_jwks")
        .set_detail(detail)
        .set_hint(hint)
        .report(PgLogLevel::WARNING);
}

/// Raises a FATAL of 28000 that ends an authentication. The message is all that the client is to hear.
pub fn refuse_login(message: String) -> ! {
    let sqlstate = PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
    ErrorReport::new(sqlstate, message, "pg_jwks").report(PgLogLevel::FATAL);
    unreachable!("a FATAL does not return")
}

/// Tells PostgreSQL why a check hook is about to return false. Check hooks must not raise.
pub fn refuse_setting(sqlstate: PgSqlErrorCode, message: &str, detail: &str, hint: &str) {
    // SAFETY: these variables are the documented interface of check hooks (guc.h). The strings must live until the
    // hook's caller has reported them, which ErrorContext grants.
    unsafe {
        pg_sys::GUC_check_errcode(sqlstate as i32);
        pg_sys::GUC_check_errmsg_string = in_error_context(message);
        pg_sys::GUC_check_errdetail_string = in_error_context(detail);
        pg_sys::GUC_check_errhint_string = in_error_context(hint);
    }
}

fn in_error_context(text: &str) -> *mut c_char {
    let text = CString::new(text.replace('\0', "")).unwrap_or_default();
    // SAFETY: a C string is copied into a memory context that always exists.
    unsafe { pg_sys::MemoryContextStrdup(pg_sys::ErrorContext, text.as_ptr()) }
}
