//! The one place where errors of the core become errors of PostgreSQL.

use std::ffi::{CString, c_char};

use pg_jwks_core::membership_table::MembershipTable;
use pg_jwks_core::rejection::{Class, Rejection};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::settings::{self, OnExpiry};

/// Raises a rejection: 22023 for a malformed token, 28000 for one that is not accepted, 55000 where the server lacks
/// a setting or keys.
pub fn raise(rejection: Rejection) -> ! {
    let sqlstate = match rejection.reason.class() {
        Class::Malformed => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        Class::Rejected => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        Class::Unavailable => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
    };
    error(sqlstate, format!("JWT rejected: {}", rejection.reason.text()), rejection.detail, rejection.hint)
}

/// Raises 28000 for an identity whose token has expired, and ends the session where `pg_jwks.on_expiry` says so. A
/// parallel worker cannot end the session of its leader; there it is an error of the statement.
pub fn raise_expired() -> ! {
    // SAFETY: reads a variable.
    let is_worker = unsafe { pg_sys::ParallelWorkerNumber } >= 0;
    let (level, hint) = match settings::on_expiry() == OnExpiry::Terminate && !is_worker {
        true => (PgLogLevel::FATAL, "Connect again, with a new token."),
        false => (PgLogLevel::ERROR, "Call auth.jwt_session_init() with a new token, or auth.jwt_session_clear()."),
    };
    raise_at(
        level,
        PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        "JWT has expired".into(),
        "The token of this session's identity expired before this statement began.".into(),
        Some(hint.into()),
    )
}

/// Logs why a login was refused: the client is not told.
#[cfg(feature = "pg18")]
pub fn log_refused_login(user: &str, rejection: Rejection) {
    let message = format!("OAuth token rejected for user \"{user}\": {}", rejection.reason.text());
    let sqlstate = PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
    let mut report = ErrorReport::new(sqlstate, message, "pg_jwks").set_detail(rejection.detail);
    if let Some(hint) = rejection.hint {
        report = report.set_hint(hint);
    }
    report.report(PgLogLevel::LOG_SERVER_ONLY);
}

/// Raises 22P05 for claims that the database cannot hold.
pub fn raise_not_representable(encoding: &str) -> ! {
    error(
        PgSqlErrorCode::ERRCODE_UNTRANSLATABLE_CHARACTER,
        "JWT rejected: claim not representable".into(),
        format!("A claim cannot be stored as jsonb in a database of encoding {encoding}."),
        Some("Use a database of encoding UTF8, and claims without \\u0000 and without numbers beyond numeric.".into()),
    )
}

/// Raises 55000 where keys cannot be refreshed.
pub fn raise_unavailable(problem: String) -> ! {
    let sqlstate = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    error(sqlstate, "keys cannot be refreshed".into(), problem, None)
}

/// Raises 55000 for an identity that would outlive its transaction where that is not allowed.
pub fn raise_session_scope() -> ! {
    error(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "identity for the whole session not allowed".into(),
        "Setting pg_jwks.session_scope is \"transaction\".".into(),
        Some("Call auth.jwt_session_init(token, true) inside of the transaction.".into()),
    )
}

/// Warns that session variables for claims are not defined.
pub fn warn_claim_settings_without_preloading() {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, "pg_jwks.claim_settings has no effect", "pg_jwks")
        .set_detail("The library is not preloaded, so a session could set these variables before it is loaded.")
        .set_hint("Add pg_jwks to shared_preload_libraries and restart the server.")
        .report(PgLogLevel::WARNING);
}

/// Raises 55000, or 42501 for lack of a right, where memberships cannot be read. The problem is a full sentence.
pub fn raise_no_lookup(sqlstate: PgSqlErrorCode, table: &MembershipTable, problem: String) -> ! {
    error(
        sqlstate,
        format!("membership table {table} cannot be read"),
        problem,
        Some(
            "Set pg_jwks.tenant_lookup to a table and its user and tenant columns, or pg_jwks.tenant_claim to a claim."
                .into(),
        ),
    )
}

/// Raises 55000 where the settings no longer know the issuer of the identity, and so not where its tenants are.
pub fn raise_unknown_issuer() -> ! {
    error(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "tenants of the user are not known".into(),
        "The issuer of this session's identity is not configured any more.".into(),
        Some("Check pg_jwks.issuer and pg_jwks.providers.".into()),
    )
}

/// Raises 55000 where the user has several tenants, and none is chosen.
pub fn raise_no_tenant_chosen() -> ! {
    error(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "no tenant chosen".into(),
        "The user belongs to several tenants.".into(),
        Some("Call auth.set_tenant() with one of auth.tenant_ids().".into()),
    )
}

/// Raises 42501 for a chosen tenant that the user has left since.
pub fn raise_no_longer_member() -> ! {
    error(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "user is no longer a member of the chosen tenant".into(),
        "The membership ended after the choice.".into(),
        Some("Call auth.set_tenant() with one of auth.tenant_ids(), or with NULL.".into()),
    )
}

/// Raises 42501 for a tenant that cannot be chosen. The problem is a full sentence.
pub fn raise_not_member(problem: &str) -> ! {
    error(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "user is not a member of this tenant".into(),
        problem.into(),
        Some("The function auth.tenant_ids() returns the tenants of the user.".into()),
    )
}

/// Raises 22P02 for a tenant that is no UUID.
pub fn raise_tenant_not_uuid() -> ! {
    error(
        PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION,
        "tenant is not a uuid".into(),
        "The function get_current_user_tenant_id() is for tenants that are.".into(),
        Some("Use auth.tenant_id(), which returns text.".into()),
    )
}

fn error(sqlstate: PgSqlErrorCode, message: String, detail: String, hint: Option<String>) -> ! {
    raise_at(PgLogLevel::ERROR, sqlstate, message, detail, hint)
}

fn raise_at(level: PgLogLevel, sqlstate: PgSqlErrorCode, message: String, detail: String, hint: Option<String>) -> ! {
    let mut report = ErrorReport::new(sqlstate, message, "pg_jwks").set_detail(detail);
    if let Some(hint) = hint {
        report = report.set_hint(hint);
    }
    report.report(level);
    unreachable!("neither an ERROR nor a FATAL returns")
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
