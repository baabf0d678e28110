//! The audit log: one structured line for each decision about a token, never the token.

use std::collections::BTreeMap;
use std::ffi::CString;

use pg_jwks_core::claims::ClaimSet;
use pg_jwks_core::jose::presented::Presented;
use pg_jwks_core::json::ascii_escaped;
use pg_jwks_core::redaction;
use pg_jwks_core::rejection::Rejection;
use pg_jwks_core::time::Timestamp;
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use serde_json::{Value, json};

use super::counters::counters;
use super::log;
use crate::pg::user::role_named;
use crate::pg::user::{client_address, session_user, session_user_name};
use crate::settings::{self, AuditLog, Settings};

/// Logs an acceptance, with the claims that `pg_jwks.audit_claims` names.
pub fn accepted(claims: &ClaimSet) {
    write_accepted(claims, session_user_name);
}

/// Logs that a token may log in as `user`, in the same way.
pub fn login_accepted(claims: &ClaimSet, user: &str) {
    write_accepted(claims, || Some(user.to_owned()));
}

/// Logs a rejection, with what the token says of its origin. Other claims of a token that was not accepted are not
/// facts either, and need not be known to find its sender, so none is logged.
pub fn rejected(rejection: &Rejection, token: Presented, now: Timestamp) {
    write_rejected(rejection, token, now, session_user(), session_user_name);
}

/// Logs that a token may not log in as `user`, in the same way.
pub fn login_rejected(rejection: &Rejection, token: Presented, now: Timestamp, user: &str) {
    // Names that no role has share an allowance: the client chooses the name.
    let role = CString::new(user).ok().and_then(|name| role_named(&name)).unwrap_or(Oid::INVALID);
    write_rejected(rejection, token, now, role, || Some(user.to_owned()));
}

/// Logs that somebody has assumed an identity, whatever `pg_jwks.audit_log` leaves out, unless that is off.
pub fn assumed(claims: &ClaimSet, user: Option<String>) {
    let settings = settings::current();
    if settings.audit_log != AuditLog::Off {
        let named = named_claims(claims, &settings);
        write(json!({ "decision": "assumed", "subject": user, "claims": named }), session_user_name());
    }
}

fn named_claims(claims: &ClaimSet, settings: &Settings) -> BTreeMap<String, Value> {
    settings.audit_claims.iter().filter_map(|name| Some((name.clone(), claims.claim(name)?.clone()))).collect()
}

fn write_accepted(claims: &ClaimSet, user: impl FnOnce() -> Option<String>) {
    let settings = settings::current();
    if settings.audit_log == AuditLog::All {
        write(json!({ "decision": "accepted", "claims": named_claims(claims, &settings) }), user());
    }
}

fn write_rejected(
    rejection: &Rejection,
    token: Presented,
    now: Timestamp,
    role: Oid,
    user: impl FnOnce() -> Option<String>,
) {
    if settings::current().audit_log == AuditLog::Off {
        return;
    }
    let Some(left_out) = counters().allowances.take(role.to_u32(), rejection.reason, now) else { return };
    let mut line = token.members();
    line.insert("decision".into(), "rejected".into());
    line.insert("check".into(), rejection.reason.check().name().into());
    line.insert("reason".into(), rejection.reason.text().into());
    line.insert("detail".into(), rejection.detail.clone().into());
    line.insert("remote_host".into(), client_address().into());
    if left_out > 0 {
        line.insert("left_out_before".into(), left_out.into());
    }
    write(line.into(), user());
}

fn write(mut line: Value, user: Option<String>) {
    line["user"] = user.into();
    let line = format!("{} {}", redaction::AUDIT, ascii_escaped(&line.to_string()));
    // For the server's log alone: a client that asked for messages of level LOG gets none.
    log::as_audit(|| ereport!(PgLogLevel::LOG_SERVER_ONLY, PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, line));
}
