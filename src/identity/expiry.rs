//! Whether the identity in force is still in time: an identity ends with its token.

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::request_claims;
use super::session::{self, Identity, identity};
use crate::pg::backend_local::BackendLocal;
use crate::pg::clock::{from_postgres, present_moment, statement_start, transaction_start};
use crate::pg::error::raise_at;
use crate::pg::process::is_parallel_worker;
use crate::settings::{self, OnExpiry};

/// The moment that was last found to be before some identity's end: its serial, and when the statement began.
static UNEXPIRED: BackendLocal<Cell<(u64, pg_sys::TimestampTz)>> = BackendLocal::new(Cell::new((0, 0)));

/// When the innermost statement began that the hooks of statements have seen.
static NOTED: BackendLocal<Cell<pg_sys::TimestampTz>> = BackendLocal::new(Cell::new(0));

/// A statement begins or goes on, one within another included: from now on this moment counts.
pub fn note_statement() {
    NOTED.set(present_moment());
}

/// The identity in force, if its token had not expired when the present statement began. Raises 28000 if it had. A
/// statement within another, and a transaction that a procedure began, count as statements of their own.
#[inline]
pub fn unexpired_identity() -> Option<Identity> {
    match unexpired_verified_identity() {
        None if settings::trust_request_claims() && !session::is_refused() => unexpired(request_claims::identity()?),
        identity => identity,
    }
}

/// The same, of identities that `auth.jwt_session_init` or a login has verified.
#[inline]
pub fn unexpired_verified_identity() -> Option<Identity> {
    unexpired(identity()?)
}

/// When the present statement began, or the last one within it, or the transaction in it.
#[inline]
fn present() -> pg_sys::TimestampTz {
    statement_start().max(transaction_start()).max(NOTED.get())
}

fn unexpired(identity: Identity) -> Option<Identity> {
    if !is_known_unexpired(identity) {
        if has_expired(identity) {
            raise_expired();
        }
        UNEXPIRED.set((identity.serial, present()));
    }
    Some(identity)
}

/// Whether the identity's token had expired when the present statement began.
pub fn has_expired(identity: Identity) -> bool {
    from_postgres(present()) >= identity.expires + settings::leeway()
}

/// Whether it is known already that the identity's token had not expired when the present statement began.
#[inline]
pub fn is_known_unexpired(identity: Identity) -> bool {
    UNEXPIRED.get() == (identity.serial, present())
}

/// Raises 28000 for an identity whose token has expired, and ends the session if `pg_jwks.on_expiry` says so. A
/// parallel worker cannot end the session of its leader; there it is an error of the statement.
pub fn raise_expired() -> ! {
    let (level, hint) = match settings::on_expiry() == OnExpiry::Terminate && !is_parallel_worker() {
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
