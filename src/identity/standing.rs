//! Whether the identity in force still stands: it ends with its token, and with what its token was accepted by.

use std::cell::Cell;

use pg_jwks_core::rejection::{Reason, Rejection};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::judgement::{self, judge, judgements};
use super::request_claims;
use super::session::{self, Identity, identity};
use crate::pg::backend_local::BackendLocal;
use crate::pg::clock::{from_postgres, present_moment, statement_start, transaction_start};
use crate::pg::error::raise_at;
use crate::pg::process::is_parallel_worker;
use crate::pg::user::may_know_settings;
use crate::settings::{self, OnExpiry};

/// When an identity was last found to stand.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stood {
    serial: u64,
    /// When the present statement began.
    moment: pg_sys::TimestampTz,
    judgements: u64,
}

static STOOD: BackendLocal<Cell<Stood>> = BackendLocal::new(Cell::new(Stood { serial: 0, moment: 0, judgements: 0 }));

/// When the innermost statement began that the hooks of statements have seen, but for the first of a client's message.
static NOTED: BackendLocal<Cell<pg_sys::TimestampTz>> = BackendLocal::new(Cell::new(0));

/// When the client's message came of which the hooks have seen a statement.
static MESSAGE: BackendLocal<Cell<pg_sys::TimestampTz>> = BackendLocal::new(Cell::new(0));

/// A statement begins or goes on, one within another included: from now on this moment counts. The first statement of a
/// message has begun with the message, so that PostgreSQL has read the clock for it already.
pub fn note_statement() {
    let message = statement_start();
    if MESSAGE.replace(message) == message {
        NOTED.set(present_moment());
    }
}

/// The identity in force, if it stood when the present statement began. Raises 28000 if it did not. A statement within
/// another, and a transaction that a procedure began, count as statements of their own.
#[inline]
pub fn standing_identity() -> Option<Identity> {
    match standing_verified_identity() {
        None if settings::trust_request_claims() && !session::is_refused() => standing(request_claims::identity()?),
        identity => identity,
    }
}

/// The same, of identities that `auth.jwt_session_init` or a login has verified.
#[inline]
pub fn standing_verified_identity() -> Option<Identity> {
    let identity = identity()?;
    if is_known_to_stand(identity) {
        return Some(identity);
    }
    // A rollback within the statement can have brought an identity back.
    judge();
    if judgement::is_refused() {
        raise_past(identity);
    }
    standing(session::identity()?)
}

/// When the present statement began, or the last one within it, or the transaction in it.
#[inline]
fn present() -> pg_sys::TimestampTz {
    statement_start().max(transaction_start()).max(NOTED.get())
}

fn standing(identity: Identity) -> Option<Identity> {
    if !is_known_to_stand(identity) {
        if has_ended(identity) {
            raise_past(identity);
        }
        STOOD.set(Stood { serial: identity.serial, moment: present(), judgements: judgements() });
    }
    Some(identity)
}

/// Whether the identity in force, which is this, does not stand any more.
pub fn is_past(identity: Identity) -> bool {
    judgement::is_refused() || has_ended(identity)
}

/// Whether the identity's token had come to its end when the present statement began.
fn has_ended(identity: Identity) -> bool {
    from_postgres(present()) >= identity.end + settings::leeway()
}

/// Whether it is known already that the identity stood when the present statement began.
#[inline]
pub fn is_known_to_stand(identity: Identity) -> bool {
    // One branch for each row, as a comparison of structures would be several; the calls first, as what they do not know
    // of would have to be saved for them.
    let moment = present();
    let stood = STOOD.get();
    let differences =
        (stood.moment ^ moment).cast_unsigned() | (stood.serial ^ identity.serial) | (stood.judgements ^ judgements());
    differences == 0
}

/// Raises 28000 for the identity in force, which does not stand any more, and ends the session if `pg_jwks.on_expiry` says
/// so. A parallel worker cannot end the session of its leader; there it is an error of the statement.
pub fn raise_past(identity: Identity) -> ! {
    let (level, hint) = match settings::on_expiry() == OnExpiry::Terminate && !is_parallel_worker() {
        true => (PgLogLevel::FATAL, "Connect again, with a new token."),
        false => (PgLogLevel::ERROR, "Call auth.jwt_session_init() with a new token, or auth.jwt_session_clear()."),
    };
    let refusal = judgement::refusal().or_else(|| aged(identity));
    let (message, detail) = match refusal {
        None => (
            "JWT has expired".into(),
            "The token of this session's identity expired before this statement began.".into(),
        ),
        Some(rejection) => {
            let rejection = match may_know_settings() {
                true => rejection,
                false => rejection.without_settings(),
            };
            (format!("JWT no longer accepted: {}", rejection.reason.text()), rejection.detail)
        }
    };
    raise_at(level, PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, message, detail, Some(hint.into()))
}

/// Why an identity has come to its end before its token has expired, if that is so.
fn aged(identity: Identity) -> Option<Rejection> {
    let has_expired = from_postgres(present()) >= identity.expires + settings::leeway();
    (!has_expired).then(|| Rejection::new(Reason::TooOld, "The token was issued too long ago."))
}
