//! Identities that must not write (`pg_jwks.read_only_claim`).

use pgrx::prelude::*;

use super::writing;
use crate::identity::session;
use crate::pg::{error, transaction};

/// Makes the transaction read-only if the identity in force must not write.
pub fn enforce() {
    if session::is_read_only() {
        transaction::make_read_only();
    }
}

/// Makes the transaction read-only for an identity that is about to be set. Raises 55000 within a statement that may
/// write: PostgreSQL has let that one begin.
pub fn restrict_transaction() {
    if writing::is_in_progress() {
        error::raise(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "read-only identity not allowed within a statement that may write".into(),
            "The token's identity must not write, and the statement in progress began without it.".into(),
            Some("Call auth.jwt_session_init() in a statement of its own.".into()),
        );
    }
    transaction::make_read_only();
}

/// The functions that change large objects: `lowrite`, `lo_creat` and so on. PostgreSQL itself refuses them in read-only
/// transactions from version 16 on.
#[cfg(any(feature = "pg14", feature = "pg15"))]
const CHANGES_LARGE_OBJECTS: [u32; 10] = [715, 764, 767, 955, 957, 964, 1004, 3172, 3457, 3460];

/// Raises 25006 for a function that writes past the checks of read-only transactions.
#[cfg(any(feature = "pg14", feature = "pg15"))]
pub fn check_function(function: pg_sys::Oid) {
    if CHANGES_LARGE_OBJECTS.contains(&function.to_u32()) {
        error::raise(
            PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "cannot change large objects in a read-only transaction".into(),
            "The session's identity must not write.".into(),
            None,
        );
    }
}
