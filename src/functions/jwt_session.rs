//! The SQL functions that set and clear the identity of the session.

use pg_jwks_core::jose::presented::Presented;
use pg_jwks_core::rejection::{Reason, Rejection};
use pgrx::prelude::*;

use super::token::receive;
use crate::enforcement::{read_only, role};
use crate::identity::judgement::{self, Trust};
use crate::identity::verification::{self, Verification};
use crate::identity::{revocation, session};
use crate::pg::clock::now;
use crate::pg::jsonb::check_representable;
use crate::pg::{error, invalidation};
use crate::settings::{self, SessionScope, Settings};
use crate::telemetry::audit;
use crate::telemetry::counters::{count, counters};

/// `auth.jwt_session_init(token text, is_local boolean)`. Not STRICT: NULL must fail closed like any other bad token.
#[pg_extern(sql = false)]
fn jwt_session_init(token: Option<&[u8]>, is_local: Option<bool>) {
    let is_local = is_local.unwrap_or(false);
    let replacement = session::Replacement::begin(is_local);
    let role = role::Change::begin();
    receive(token);
    let trust = Trust::now();
    let settings = settings::current();
    check_scope(&settings, is_local);
    let admitted =
        token.ok_or_else(|| Rejection::new(Reason::TokenMissing, "The token is NULL.")).and_then(admitted).and_then(
            |admitted| role.set(&admitted.claims, admitted.claims.provider(), &settings, is_local).map(|()| admitted),
        );
    match admitted {
        Err(rejection) => {
            counters().count_rejected(rejection.reason);
            audit::rejected(&rejection, Presented::of(token.unwrap_or_default()), now());
            error::raise_rejection(rejection)
        }
        Ok(verification) => {
            let Verification { claims, digest, .. } = &verification;
            let is_read_only = settings.forbids_writing(claims);
            if is_read_only {
                read_only::restrict_transaction();
            }
            count(&counters().accepted);
            audit::accepted(claims);
            replacement.set(&**claims, session::Kept::of_token(claims, *digest, is_read_only), is_local);
            judgement::is_judged_by(trust, claims, &settings);
            role.succeed();
            verification.warn_of_nobody();
        }
    }
}

/// A token that is accepted and whose claims this database can hold.
fn admitted(token: &[u8]) -> Result<Verification, Rejection> {
    invalidation::learn();
    // Before they are read, so that a change in between is seen the next time.
    let revocations = revocation::generation();
    let verification = verification::verified(token, now())?;
    match verification.unrevoked_at {
        Some(_) => count(&counters().remembered),
        None => check_representable(verification.claims.json(), &verification.claims),
    }
    if verification.unrevoked_at != Some(revocations) {
        verification.check_revocation()?;
        verification.remember(revocations);
    }
    Ok(verification)
}

/// `auth.jwt_session_clear()`.
#[pg_extern(sql = false)]
fn jwt_session_clear() {
    session::clear();
    role::clear();
}

/// `auth.init()`.
#[pg_extern(sql = false)]
fn init() {}

/// Raises 55000 for an identity that would outlive its transaction if that is not allowed.
pub(super) fn check_scope(settings: &Settings, is_local: bool) {
    if !is_local && settings.session_scope == SessionScope::Transaction {
        raise_session_scope();
    }
}

fn raise_session_scope() -> ! {
    error::raise(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "identity for the whole session not allowed".into(),
        "Setting pg_jwks.session_scope is \"transaction\".".into(),
        Some("Call auth.jwt_session_init(token, true) inside of the transaction.".into()),
    )
}
