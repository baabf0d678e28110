//! The audit log: one structured line for each decision about a token, never the token.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use pg_jwks_core::rejection::Rejection;
use pg_jwks_core::time::Timestamp;
use pg_jwks_core::verification::verify::VerifiedClaims;
use pgrx::prelude::*;
use serde_json::{Value, json};

use super::counters::{count, counters};
use crate::pg::user::session_user_name;
use crate::settings::{self, AuditLog};

/// Lines about rejections in one second, for the cluster: a flood of bad tokens must not fill the disk.
const REJECTIONS_PER_SECOND: u64 = 10;

/// Logs an acceptance, with the claims that `pg_jwks.audit_claims` names.
pub fn accepted(claims: &VerifiedClaims) {
    write_accepted(claims, session_user_name);
}

/// Logs that a token may log in as `user`, in the same way.
#[cfg(feature = "pg18")]
pub fn login_accepted(claims: &VerifiedClaims, user: &str) {
    write_accepted(claims, || Some(user.to_owned()));
}

/// Logs a rejection. Claims of a token that was not accepted are not facts, so none is logged.
pub fn rejected(rejection: &Rejection, now: Timestamp) {
    write_rejected(rejection, now, session_user_name);
}

/// Logs that a token may not log in as `user`, in the same way.
#[cfg(feature = "pg18")]
pub fn login_rejected(rejection: &Rejection, now: Timestamp, user: &str) {
    write_rejected(rejection, now, || Some(user.to_owned()));
}

fn write_accepted(claims: &VerifiedClaims, user: impl FnOnce() -> Option<String>) {
    let settings = settings::current();
    if settings.audit_log == AuditLog::All {
        let named = settings.audit_claims.iter().filter_map(|name| Some((name.clone(), claims.claim(name)?.clone())));
        write(json!({ "decision": "accepted", "claims": named.collect::<BTreeMap<String, Value>>() }), user());
    }
}

fn write_rejected(rejection: &Rejection, now: Timestamp, user: impl FnOnce() -> Option<String>) {
    if settings::current().audit_log == AuditLog::Off || !may_write(now) {
        return;
    }
    let unlogged = counters().unlogged.swap(0, Ordering::Relaxed);
    let mut line = json!({
        "decision": "rejected",
        "check": rejection.reason.check().name(),
        "reason": rejection.reason.text(),
        "detail": rejection.detail,
    });
    if unlogged > 0 {
        line["left_out_before"] = unlogged.into();
    }
    write(line, user());
}

/// Whether this second still has a line to give.
fn may_write(now: Timestamp) -> bool {
    let counters = counters();
    let second = now.micros().unsigned_abs() / 1_000_000;
    if counters.audit_window.swap(second, Ordering::Relaxed) != second {
        counters.audit_lines.store(0, Ordering::Relaxed);
    }
    let within = counters.audit_lines.fetch_add(1, Ordering::Relaxed) < REJECTIONS_PER_SECOND;
    if !within {
        count(&counters.unlogged);
    }
    within
}

fn write(mut line: Value, user: Option<String>) {
    line["user"] = user.into();
    // For the server's log alone: a client that asked for messages of level LOG gets none.
    ereport!(
        PgLogLevel::LOG_SERVER_ONLY,
        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        format!("pg_jwks audit: {line}")
    );
}
