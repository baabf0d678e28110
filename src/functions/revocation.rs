//! The SQL functions behind `auth.revoke()` and `auth.jwt_logout()`, and the trigger of `auth.revocations`.

use pg_jwks_core::digest::digest;
use pg_jwks_core::jose::presented::Presented;
use pg_jwks_core::jose::token::Unverified;
use pg_jwks_core::rejection::{Reason, Rejection};
use pgrx::iter::TableIterator;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::pgrx_extern_c_guard;
use pgrx::prelude::*;

use super::token::receive;
use crate::identity::verification;
use crate::pg::clock::now;
use crate::pg::encoding::server_encoded;
use crate::pg::{error, keyed_table, trigger};
use crate::telemetry::audit;
use crate::telemetry::counters::counters;

/// `auth.jwt_hash(token text)`. Raises 22023 for a text that is no JWT: what is revoked by mistake protects nobody.
#[pg_extern(sql = false)]
fn jwt_hash(token: Option<&[u8]>) -> Option<Vec<u8>> {
    receive(token);
    let token = token?;
    if let Err(rejection) = Unverified::parse(token) {
        error::raise_rejection(rejection);
    }
    Some(digest(token).to_vec())
}

/// `auth.jwt_logout_verified(logout_token text)`. Raises as `auth.jwt_session_init()` does for a token that is refused.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn jwt_logout_verified(
    logout_token: Option<&[u8]>,
) -> TableIterator<
    'static,
    (
        name!(issuer, Option<Vec<u8>>),
        name!(subject, Option<Vec<u8>>),
        name!(session, Option<Vec<u8>>),
        name!(token_hash, Vec<u8>),
    ),
> {
    receive(logout_token);
    let verified = logout_token
        .ok_or_else(|| Rejection::new(Reason::TokenMissing, "The token is NULL."))
        .and_then(|token| verification::logout(token, now()));
    match verified {
        Err(rejection) => {
            counters().count_rejected(rejection.reason);
            audit::rejected(&rejection, Presented::of(logout_token.unwrap_or_default()), now());
            error::raise_rejection(rejection)
        }
        Ok(logout) => {
            let text = |text: String| server_encoded(&text);
            TableIterator::once((
                Some(text(logout.issuer)),
                logout.subject.map(text),
                logout.session.map(text),
                logout.token.to_vec(),
            ))
        }
    }
}

#[doc(hidden)]
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_pg_jwks_revocation_changed() -> &'static pg_sys::Pg_finfo_record {
    const INFO: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &INFO
}

/// The trigger `announce` of `auth.revocations`.
///
/// # Safety
///
/// PostgreSQL must call this as the version-1 function of this name.
#[doc(hidden)]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pg_jwks_revocation_changed(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: PostgreSQL calls this with a call frame, and expects errors here.
    unsafe {
        pgrx_extern_c_guard(|| match trigger::table(fcinfo) {
            Some(table) => keyed_table::announce(table),
            None => error::raise_not_a_trigger("auth.revocation_changed"),
        });
        // What a trigger after the fact returns does not matter.
        pg_sys::Datum::null()
    }
}
